"""One method's ranks, person by person, kept so that every table and interval can be rebuilt."""

from dataclasses import dataclass, fields
from io import BytesIO
from pathlib import Path

import numpy as np

from pfsr.errors import PfsrError
from pfsr.evaluation.files import replace_file
from pfsr.evaluation.metrics import per_person
from pfsr.evaluation.slices import length_slices, worst_decile


@dataclass(frozen=True)
class Evaluation:
    """How one method ranked each person's held-out item.

    Attributes:
        name: the method.
        people: int64 [n], rows of :class:`~pfsr.data.sequences.Sequences`.
        ranks: int64 [n], 1 = best.
        nll: float64 [n], -log softmax of the target over the whole catalogue, in nats.
        history_lengths: int64 [n], events before the target.
        tied: bool [n], the target has the same time as the event before it.
        cold_people: bool [n], at most one training event.
        cold_items: bool [n], the target occurs in nobody's training events.
    """

    name: str
    people: np.ndarray
    ranks: np.ndarray
    nll: np.ndarray
    history_lengths: np.ndarray
    tied: np.ndarray
    cold_people: np.ndarray
    cold_items: np.ndarray

    def __len__(self) -> int:
        return len(self.people)

    def per_person(self) -> dict[str, np.ndarray]:
        """Return every metric of every person, float64 [n] each: HR, NDCG, MRR at 5, 10, 20, and NLL."""
        return {**per_person(self.ranks), "NLL": self.nll}

    def metrics(self, members: np.ndarray | None = None) -> dict[str, float]:
        """Return the mean of every metric, over everybody or over ``members`` (bool [n], not empty)."""
        chosen = slice(None) if members is None else members
        return {name: float(values[chosen].mean()) for name, values in self.per_person().items()}

    def shared_members(self) -> dict[str, np.ndarray]:
        """Return who belongs to each slice, bool [n]; slices without anybody are left out.

        These slices are a matter of the data alone, so every method judged on the same targets has the
        same ones, and methods can be compared on them person by person.
        """
        slices = {
            **length_slices(self.history_lengths),
            "cold people": self.cold_people,
            "cold items": self.cold_items,
            "tied in time": self.tied,
            "not tied": ~self.tied,
        }
        return {name: members for name, members in slices.items() if members.any()}

    def members(self) -> dict[str, np.ndarray]:
        """Return :meth:`shared_members` and this very method's worst decile."""
        return {**self.shared_members(), "worst decile": worst_decile(self.nll)}

    def slices(self) -> dict[str, dict[str, float]]:
        """Return ``n`` and the mean of every metric for each slice that has anybody in it."""
        return {
            name: {"n": int(members.sum()), **self.metrics(members)}
            for name, members in self.members().items()
        }

    def save(self, path: Path) -> None:
        """Write one compressed ``.npz``; the file appears whole or not at all.

        Raises:
            PfsrError: the place cannot be written.
        """
        packed = BytesIO()
        np.savez_compressed(packed, **{field.name: getattr(self, field.name) for field in fields(self)})
        replace_file(path, packed.getvalue())

    @classmethod
    def load(cls, path: Path) -> "Evaluation":
        """Read what :meth:`save` wrote.

        Raises:
            PfsrError: the file is missing, damaged or no evaluation.
        """
        try:
            with path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
                arrays = {field.name: stored[field.name] for field in fields(cls)}
        except Exception as error:  # zipfile, zlib, NumPy and the OS each raise their own for a damaged file
            raise PfsrError(
                f"{path}: not a saved evaluation ({error}); delete it and give the command that made it again"
            ) from None
        return cls(**{**arrays, "name": str(arrays["name"])})
