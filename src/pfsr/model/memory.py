"""A memory of pairs: which item came soon after which, summed over many people, beside what the encoder says.

An encoder of a few dozen channels blurs who came right after whom. Counts do not, and take no training:

    n(i, j)  sum over people of FADE^(g - 1), where j came g <= REACH events after i, at the closest
    m_j      sum over a of FADE^a n(i_a, j), where i_0, i_1, ... are the newest REACH events of a history
    T        sum over a and all j of the same, pairs included that were dropped because few people share them
    p        softmax over the items that compete of  s_j + weight log(1 + m_j),  s the encoder's scores
    score_j  log[ (1 - share sum_j m_j / (T + DOUBT)) p_j  +  share m_j / (T + DOUBT) ]

So pairs raise an item's odds, and up to a share of the probability is theirs alone. What a dropped pair
would have had stays with the encoder, as in back-off models (Katz, 1987). A wide part that remembers beside
a deep part that generalizes: Cheng et al. 2016, arXiv 1606.07792. Whoever reads this needs no PyTorch.

Shapes: I items, P pairs, n items recalled.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, NamedTuple

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

REACH = 3
"""Events after an item that it makes pairs with, and newest events of a history that recall them. Counts in
files were made with this and FADE: whoever changes a constant here needs a new version of both formats.
"""

FADE = 0.5
"""What every event in between leaves of a pair."""

DOUBT = 2.0
"""Observations that the encoder's word is worth before any are made."""

HEAVIEST = 10.0
"""The largest weight that pairs may have."""

PREFIX = "memory."
"""What names of arrays in a file begin with."""

ARRAYS = {"starts": np.int64, "following": np.int32, "counts": np.float32, "totals": np.float32}
"""The arrays of a memory and their types."""


class Recalled(NamedTuple):
    """What a history calls to mind.

    Attributes:
        rows_n: int64, the items, rising.
        counts_n: float64, m of each.
        total: T.
    """

    rows_n: np.ndarray
    counts_n: np.ndarray
    total: float


class PairHeader(BaseModel):
    """What a file says of a memory beside its arrays."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    weight: Annotated[float, Field(ge=0, le=HEAVIEST)]
    share: Annotated[float, Field(ge=0, lt=1)]
    repeats: bool


@dataclass(frozen=True)
class PairMemory:
    """Pairs of items, in the order of the first.

    Attributes:
        starts: int64 [I + 2]; the pairs that begin with item i are ``starts[i]:starts[i + 1]``.
        following: int32 [P], the item that came after, rising within a first item.
        counts: float32 [P], n(i, j).
        totals: float32 [I + 1], the sum of n(i, j) over all j, dropped pairs included.
        weight: how strongly pairs raise an item's odds.
        share: the most of the probability that is theirs alone.
        repeats: whether what a person has had competes with the rest.
    """

    starts: np.ndarray
    following: np.ndarray
    counts: np.ndarray
    totals: np.ndarray
    weight: float
    share: float
    repeats: bool = False

    def recall(self, newest: np.ndarray) -> Recalled:
        """Return what the ``newest`` events of a history (catalogue rows, oldest first) call to mind."""
        firsts = np.asarray(newest, np.int64)[::-1][:REACH]
        fades = FADE ** np.arange(len(firsts))
        places = [np.arange(*self.starts[row : row + 2].tolist()) for row in firsts]
        found = np.concatenate([*places, np.zeros(0, np.int64)])
        weighed = self.counts[found] * np.repeat(fades, [len(part) for part in places])
        rows_n, where = np.unique(self.following[found], return_inverse=True)
        counts_n = np.bincount(where, weighed, minlength=len(rows_n))
        return Recalled(rows_n.astype(np.int64), counts_n, float(self.totals[firsts] @ fades))

    def add_to(self, scores_I: np.ndarray, newest: np.ndarray, had: np.ndarray) -> np.ndarray:
        """Return the scores float32 [I + 1] of an encoder after a history, with what it calls to mind.

        They are log-probabilities, or where nothing comes to mind the scores as they were: a softmax of
        either gives the probabilities.

        Args:
            scores_I: the encoder's scores; column 0 is -infinity.
            newest: the history's newest events, as rows, oldest first; :data:`REACH` are enough.
            had: rows in the history, all of them, in any order.
        """
        rows_n, counts_n, total = self.recall(newest)
        if not len(rows_n):
            return scores_I
        scores = scores_I.astype(np.float64)
        scores[rows_n] += self.weight * np.log1p(counts_n)
        taken = np.zeros(0, np.int64) if self.repeats else np.asarray(had, np.int64)
        alone_n = self.share * counts_n / (total + DOUBT)
        spent = min(alone_n[~np.isin(rows_n, taken)].sum(), self.share)
        scores += np.log1p(-spent) - _log_sum(scores, taken)
        with np.errstate(divide="ignore"):
            scores[rows_n] = np.logaddexp(scores[rows_n], np.log(alone_n))
        return scores.astype(np.float32)

    def add_to_all(self, scores_BI: np.ndarray, histories: Sequence[np.ndarray]) -> None:
        """Write into the scores of B people what each one's history of rows, oldest first, calls to mind."""
        for scores_I, history in zip(scores_BI, histories, strict=True):
            scores_I[:] = self.add_to(scores_I, history[-REACH:], history)

    def busiest(self) -> int:
        """Return the row of the item that most pairs begin with."""
        return int(np.diff(self.starts)[1:].argmax()) + 1

    def header(self) -> PairHeader:
        """Return what is written beside the arrays."""
        return PairHeader(weight=self.weight, share=self.share, repeats=self.repeats)

    def arrays(self) -> dict[str, np.ndarray]:
        """Return the arrays by the names that they have in a file."""
        return {PREFIX + name: getattr(self, name) for name in ARRAYS}

    @classmethod
    def read(cls, header: PairHeader, arrays: Mapping[str, np.ndarray], items: int) -> "PairMemory":
        """Return the memory that was written as ``header`` and ``arrays``, for a catalogue of ``items``.

        Raises:
            ValueError: the arrays are no such memory; says why.
        """
        if arrays.keys() != {PREFIX + name for name in ARRAYS}:
            raise ValueError("it has other arrays")
        plain = {name: arrays[PREFIX + name] for name in ARRAYS}
        if any(plain[name].dtype != kind or plain[name].ndim != 1 for name, kind in ARRAYS.items()):
            raise ValueError("its arrays have other types or shapes")
        memory = cls(**plain, **header.model_dump())
        _refuse_disorder(memory, items)
        return memory


def _refuse_disorder(memory: PairMemory, items: int) -> None:
    starts, pairs = memory.starts, len(memory.following)
    if len(starts) != items + 2 or len(memory.totals) != items + 1 or len(memory.counts) != pairs:
        raise ValueError("its arrays do not fit the catalogue")
    if starts[0] != 0 or starts[-1] != pairs or (starts[1:] < starts[:-1]).any():
        raise ValueError("its pairs are out of order")
    if pairs and not (memory.following.min() >= 1 and memory.following.max() <= items):
        raise ValueError("it names items that the catalogue lacks")
    for numbers in (memory.counts, memory.totals):
        if not (np.isfinite(numbers).all() and (numbers >= 0).all()):
            raise ValueError("its counts are no counts")
    firsts = np.repeat(np.arange(items + 1), np.diff(starts))
    if (np.bincount(firsts, memory.counts, items + 1) > memory.totals * (1 + 1e-4) + 1e-4).any():
        raise ValueError("its counts exceed their totals")


def _log_sum(scores: np.ndarray, taken: np.ndarray) -> float:
    """Return the logarithm of the sum of all exponentials but those of ``taken``; 0 where none is left."""
    competing = scores.copy()
    competing[taken] = -np.inf
    highest = competing.max()
    return float(highest + np.log(np.exp(competing - highest).sum())) if np.isfinite(highest) else 0.0
