"""Pairs of items that came soon one after the other: what one person's device counts, and the sum of all.

What leaves a device for the memory of pairs (``model.memory``), once: for every pair of items in its
history at most REACH events apart two catalogue rows (32 bits each) and how far apart they were at the
closest (8 bits). A person counts once in a pair, so nobody adds more than 1 to a pair's count; all pairs of
a person together are not bounded. In clear this *is* the history, so it may leave a real device only as part
of a secure sum, which takes more bytes. Of the sum, pairs that fewer than ``memory.people`` people share are
dropped; what they came to goes into the total of their first item, where it may be one person's. That is no
differential privacy: one more person can make a pair appear. The simulator sends nothing anywhere.

Shapes: n pairs of one person, P pairs of all, I items.
"""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from pfsr.config import Config
from pfsr.federated.update import Field
from pfsr.model.memory import FADE, REACH, PairMemory


class Pairs(NamedTuple):
    """One person's pairs, each once.

    Attributes:
        first_n: int64, rows of the items that came first.
        second_n: int64, rows of those that came after.
        apart_n: int64, events from one to the other, 1 where they are neighbours: at the closest.
    """

    first_n: np.ndarray
    second_n: np.ndarray
    apart_n: np.ndarray


def own_pairs(history: np.ndarray) -> Pairs:
    """Return the pairs of one history of catalogue rows, oldest first; an item and itself are none."""
    rows = np.asarray(history, np.int64)
    steps = [gap for gap in range(1, REACH + 1) if gap < len(rows)]
    first = np.concatenate([np.zeros(0, np.int64), *(rows[:-gap] for gap in steps)])
    second = np.concatenate([np.zeros(0, np.int64), *(rows[gap:] for gap in steps)])
    apart = np.repeat(np.array(steps, np.int64), [len(rows) - gap for gap in steps])
    order = np.lexsort((apart, second, first))
    first, second, apart = first[order], second[order], apart[order]
    again = (first[1:] == first[:-1]) & (second[1:] == second[:-1])
    kept = np.r_[True, ~again][: len(first)] & (first != second)
    return Pairs(first[kept], second[kept], apart[kept])


def pair_fields(pairs: int) -> list[Field]:
    """List the fields of one person's message about so many pairs, in clear. Nothing else is sent."""
    return [Field("first", (pairs,)), Field("second", (pairs,)), Field("apart", (pairs,), 8)]


def pair_bytes(pairs: int) -> int:
    """Return the size of that message."""
    return sum(field.bytes for field in pair_fields(pairs))


def remember(everybody: Iterable[Pairs], items: int, config: Config) -> PairMemory:
    """Sum up everybody's pairs and drop those that too few people share.

    Args:
        everybody: the pairs of each person.
        items: catalogue size.
        config: the run's configuration.
    """
    first, second, apart = (np.concatenate(column) for column in zip(*everybody, strict=True))
    keys, where, people = np.unique(first * (items + 1) + second, return_inverse=True, return_counts=True)
    counts = np.bincount(where, FADE ** (apart - 1), minlength=len(keys))
    totals = np.bincount(keys // (items + 1), counts, minlength=items + 1)
    shared = people >= config.memory.people
    before, following = np.divmod(keys[shared], items + 1)
    return PairMemory(
        np.searchsorted(before, np.arange(items + 2)).astype(np.int64),
        following.astype(np.int32),
        counts[shared].astype(np.float32),
        totals.astype(np.float32),
        config.memory.weight,
        config.memory.share,
        config.objective.seen == "kept",
    )
