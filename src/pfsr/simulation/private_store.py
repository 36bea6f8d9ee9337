"""Everybody's private parameters in one memory-mapped file: a million people are one sparse file.

Training changes rows in memory only; a checkpoint takes the changed rows along (``changed``), and once it
is safe on disk they are folded into the file (``fold``). So the file never holds more than the newest
checkpoint says: a run killed at any instant resumes from the file plus that checkpoint's rows.

Row layout of one person, float32: offsets [S], Fisher information [S], number of participations.
"""

import mmap
from pathlib import Path

import numpy as np
import torch

from pfsr.errors import PfsrError
from pfsr.federated.partition import Private


class PrivateStore:
    """Private parameters of ``people`` clients, ``offsets`` floats each, in the file at ``path``."""

    def __init__(self, path: Path, people: int, offsets: int) -> None:
        self.offsets = offsets
        shape = (people, 2 * offsets + 1)
        self._map = _open(path, shape)
        self._file = np.frombuffer(self._map, dtype=np.float32).reshape(shape)
        self._slot = np.full(people, -1, dtype=np.int32)
        self._rows = np.zeros((0, shape[1]), dtype=np.float32)
        self._used = 0

    def read(self, people: np.ndarray) -> Private:
        """Return the private parameters of ``people``, in that order."""
        slots = self._slot[people]
        rows = np.array(self._file[people])
        rows[slots >= 0] = self._rows[slots[slots >= 0]]
        table = torch.from_numpy(rows)
        s = self.offsets
        return Private(table[:, :s].clone(), table[:, s : 2 * s].clone(), table[:, 2 * s].clone())

    def write(self, people: np.ndarray, private: Private) -> None:
        """Replace the private parameters of ``people`` (each named once), in memory."""
        fresh = people[self._slot[people] < 0]
        self._reserve(len(fresh))
        self._slot[fresh] = np.arange(self._used, self._used + len(fresh), dtype=np.int32)
        self._used += len(fresh)
        table = torch.cat([private.offsets_BS, private.fisher_BS, private.rounds_B[:, None]], 1)
        self._rows[self._slot[people]] = table.numpy()

    def changed(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the people changed since the last fold, and their rows."""
        people = np.flatnonzero(self._slot >= 0)
        return people, self._rows[self._slot[people]]

    def fold(self, people: np.ndarray, rows: np.ndarray) -> None:
        """Write ``rows`` into the file and forget what was changed in memory; safe to repeat."""
        self._file[people] = rows
        self._map.flush()
        self._slot[:] = -1
        self._used = 0

    def _reserve(self, more: int) -> None:
        need = self._used + more
        if need > len(self._rows):
            grown = np.zeros((max(need, 2 * len(self._rows)), self._rows.shape[1]), dtype=np.float32)
            grown[: self._used] = self._rows[: self._used]
            self._rows = grown


def _open(path: Path, shape: tuple[int, int]) -> mmap.mmap:
    size = shape[0] * shape[1] * 4
    if path.exists() and path.stat().st_size != size:
        raise PfsrError(
            f"{path}: private parameters of another population or model; start the run in a new folder"
        )
    with path.open("r+b" if path.exists() else "w+b") as file:
        file.truncate(size)  # a file that grows this way is sparse: untouched people take no disk
        mapping = mmap.mmap(file.fileno(), size)
    if hasattr(mmap, "MADV_RANDOM"):
        # A cohort is scattered over the file: reading ahead would fetch hundreds of times what is needed.
        mapping.madvise(mmap.MADV_RANDOM)
    return mapping
