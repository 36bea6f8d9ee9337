"""Everybody's history as three flat arrays and an offset table.

One million people are three NumPy arrays, not one million objects; saved arrays are memory-mapped back.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pfsr.errors import PfsrError

ARRAYS = ("offsets", "items", "times")


@dataclass(frozen=True)
class Sequences:
    """Ragged histories: person ``p`` did ``items[offsets[p]:offsets[p + 1]]``, in that order.

    Attributes:
        offsets: int64 [people + 1].
        items: int32 [events], catalogue rows (1 and up; 0 is padding and never occurs).
        times: float64 [events], as the source gave them.
    """

    offsets: np.ndarray
    items: np.ndarray
    times: np.ndarray

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def lengths(self) -> np.ndarray:
        """Events per person, int64 [people]."""
        return np.diff(self.offsets)

    def history(self, person: int, end: int | None = None) -> np.ndarray:
        """Return the items of ``person``'s first ``end`` events (all of them by default)."""
        start = self.offsets[person]
        stop = self.offsets[person + 1] if end is None else start + end
        return self.items[start:stop]

    def without_last(self, count: int) -> "Sequences":
        """Return the histories without everybody's last ``count`` events; who has no more has none left."""
        left = np.maximum(self.lengths - count, 0)
        kept = np.arange(len(self.items)) < np.repeat(self.offsets[:-1] + left, self.lengths)
        offsets = np.concatenate([[0], np.cumsum(left)]).astype(np.int64)
        return Sequences(offsets, self.items[kept], self.times[kept])

    def save(self, folder: Path) -> None:
        """Write the three arrays into ``folder``, each whole or not at all."""
        folder.mkdir(parents=True, exist_ok=True)
        for name in ARRAYS:
            part = folder / f"{name}.npy.part"
            with part.open("wb") as stream:
                np.save(stream, getattr(self, name), allow_pickle=False)
            part.replace(folder / f"{name}.npy")

    @classmethod
    def open(cls, folder: Path) -> "Sequences":
        """Memory-map the arrays that :meth:`save` wrote.

        Raises:
            PfsrError: an array is missing or damaged, or they do not belong together.
        """
        offsets, items, times = (_mapped(folder / f"{name}.npy") for name in ARRAYS)
        whole = len(offsets) and offsets[0] == 0 and offsets[-1] == len(items) == len(times)
        if not whole:
            raise PfsrError(f"{folder}: offsets, items and times do not belong together; write them again")
        return cls(offsets, items, times)


def _mapped(path: Path) -> np.ndarray:
    try:
        return np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise PfsrError(f"{path}: not a saved array ({error}); write the sequences again") from None
