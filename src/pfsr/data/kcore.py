"""k-core filter: people and items with too few events are dropped, until none is left to drop."""

import numpy as np


def k_core(users: np.ndarray, items: np.ndarray, core: int) -> np.ndarray:
    """Return the events that survive: indices, int64, ascending.

    Args:
        users: [events] non-negative codes, dense.
        items: [events] non-negative codes, dense.
        core: the least number of events of every surviving person and item.
    """
    kept = np.arange(len(users))
    while len(kept):
        frequent = _frequent(users[kept], core) & _frequent(items[kept], core)
        if frequent.all():
            break
        kept = kept[frequent]
    return kept


def compact(codes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the distinct codes, ascending, and ``codes`` renumbered as positions among them."""
    present = np.bincount(codes) > 0
    position = np.cumsum(present) - 1
    return np.flatnonzero(present), position[codes]


def _frequent(codes: np.ndarray, core: int) -> np.ndarray:
    return (np.bincount(codes) >= core)[codes]
