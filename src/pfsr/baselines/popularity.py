"""The most popular items for everybody: the floor that any learned model must clear."""

from dataclasses import dataclass

import numpy as np

from pfsr.data.prefixes import in_training
from pfsr.data.sequences import Sequences


@dataclass(frozen=True)
class Popularity:
    """Scores each item by the logarithm of its share of the training events, one added to every count.

    Attributes:
        log_shares: float32 [items + 1]; entry 0 is padding.
    """

    log_shares: np.ndarray
    name: str = "popularity"

    @classmethod
    def fit(cls, sequences: Sequences, train_ends: np.ndarray, items: int) -> "Popularity":
        """Count the first ``train_ends[p]`` events of every person ``p`` over a catalogue of ``items``."""
        trained = sequences.items[in_training(sequences, train_ends)]
        counts = np.bincount(trained, minlength=items + 1) + 1.0
        return cls(np.log(counts / counts[1:].sum()).astype(np.float32))

    def score(self, people: np.ndarray, histories: list[np.ndarray]) -> np.ndarray:
        """Return the same float32 row for everybody, [n, items + 1]."""
        return np.tile(self.log_shares, (len(people), 1))
