"""What most often came right after the last item: the strongest method that learns nothing about anybody."""

from dataclasses import dataclass

import numpy as np

from pfsr.baselines.popularity import Popularity
from pfsr.data.prefixes import in_training
from pfsr.data.sequences import Sequences


@dataclass(frozen=True)
class Markov:
    """First-order transition counts, ties broken by popularity.

    The score of item j after item i is log(count(i, j) + share(j)). Shares sum to one, so they order
    what the counts leave tied and nothing else, and a softmax of the scores is the probability
    (count(i, j) + share(j)) / (count(i) + 1). Only transitions that occur are stored.

    Attributes:
        starts: int64 [items + 2]; the transitions out of item i are ``starts[i]:starts[i + 1]``.
        following: int32 [transitions], the item that came next.
        counts: float32 [transitions], how often it did.
        popularity: gives the shares; alone when the history is empty.
    """

    starts: np.ndarray
    following: np.ndarray
    counts: np.ndarray
    popularity: Popularity
    name: str = "markov"

    @classmethod
    def fit(cls, sequences: Sequences, train_ends: np.ndarray, items: int) -> "Markov":
        """Count the transitions inside the first ``train_ends[p]`` events of every person ``p``."""
        known = in_training(sequences, train_ends)
        # A person's first event follows the last event of somebody else: not a transition.
        known[sequences.offsets[:-1][sequences.lengths > 0]] = False
        last = np.flatnonzero(known) - 1
        pairs = sequences.items[last].astype(np.int64) * (items + 1) + sequences.items[last + 1]
        pairs, counts = np.unique(pairs, return_counts=True)
        before, following = np.divmod(pairs, items + 1)
        starts = np.searchsorted(before, np.arange(items + 2))
        popularity = Popularity.fit(sequences, train_ends, items)
        return cls(starts, following.astype(np.int32), counts.astype(np.float32), popularity)

    def score(self, people: np.ndarray, histories: list[np.ndarray]) -> np.ndarray:
        """Return float32 [n, items + 1] from the last item of each history."""
        log_shares = self.popularity.score(people, histories)
        shares = np.exp(log_shares)
        for row, history in enumerate(histories):
            if len(history):
                out = slice(self.starts[history[-1]], self.starts[history[-1] + 1])
                shares[row, self.following[out]] += self.counts[out]
        return np.log(shares)
