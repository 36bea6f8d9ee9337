"""Everybody's history as three flat arrays and an offset table.

One million people are three NumPy arrays, not one million objects; saved arrays are memory-mapped back.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np


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

    def save(self, folder: Path) -> None:
        """Write the three arrays into ``folder``."""
        folder.mkdir(parents=True, exist_ok=True)
        for name in ("offsets", "items", "times"):
            np.save(folder / f"{name}.npy", getattr(self, name))

    @classmethod
    def open(cls, folder: Path) -> "Sequences":
        """Memory-map the arrays that :meth:`save` wrote."""
        arrays = (np.load(folder / f"{name}.npy", mmap_mode="r") for name in ("offsets", "items", "times"))
        return cls(*arrays)
