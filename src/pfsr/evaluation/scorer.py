"""What a method must offer to be judged: one score per catalogue item, from a history alone."""

from typing import Protocol

import numpy as np


class Scorer(Protocol):
    """A recommender under test. It is handed what lies before the target and nothing else."""

    @property
    def name(self) -> str:
        """Names the method in tables and figures (a plain attribute will do)."""
        ...

    def score(self, people: np.ndarray, histories: list[np.ndarray]) -> np.ndarray:
        """Return how strongly each item is expected next.

        Args:
            people: int64 [n], rows of :class:`~pfsr.data.sequences.Sequences`.
            histories: n arrays int32 [events] of catalogue rows, oldest first.

        Returns:
            float32 [n, items + 1]; column 0 (padding) is ignored. A softmax over the other columns
            is read as the method's probabilities.
        """
        ...
