"""Why an item is recommended: what the model itself would say, had one thing of the past not happened.

For each of the recent items the history is encoded again without it. Its push on a suggestion is by how much
the suggestion's log-probability would fall:

    push(past, item) = log p(item | history) - log p(item | history without past)

p is the softmax of the scores over what the person has not had, as in the training loss. A raw score would
not do: it may rise for every item at once, which changes no ranking. exp(push) is what a person can read:
"so many times as likely". The counterfactual is the model's own, not an estimate of it; what two items do
only together is in neither's push.

Shapes: I items, P past items, R explained items, S private offsets, d = d_model.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from pfsr.device.reports import Snapshot
from pfsr.model.memory import REACH

RECENT = 50
"""Events that are left out in turn, the most recent ones: what lies further back is told of as a whole."""

SCORED = 5_000_000
"""Scores computed for one explanation, at most: large catalogues get fewer events left out."""

LEAST = math.log(1.05)
"""A push below this, 5 % more likely, is not worth a name."""


class Read(NamedTuple):
    """What a history comes to: its query [d], and its newest events, as catalogue rows."""

    query_d: np.ndarray
    newest: list[int]


class Reason(NamedTuple):
    """A past item, as its catalogue row, and its push on a suggestion in nats (> 0)."""

    row: int
    push: float

    @property
    def times(self) -> float:
        """How many times as likely the suggestion is, for this past item."""
        return math.exp(self.push)


def reasons(snapshot: Snapshot, items: Sequence[int], most: int = 3) -> list[list[Reason]]:
    """Return, for each item, the past items that push it most, strongest first.

    A past item stands for all its events among the recent ones. One pass serves all explained items.

    Args:
        snapshot: model, offsets and history.
        items: catalogue rows of what is recommended, so not of the history.
        most: reasons per item; fewer where fewer push it by 5 % or more, none without a history.
    """
    rows_R = np.asarray(items, np.int64)
    had = np.setdiff1d(np.asarray(snapshot.rows, np.int64), rows_R)
    whole, reduced = _encoded(snapshot)
    whole_R = _log_probabilities(snapshot, whole, had)[rows_R]
    pushes = {
        past: whole_R - _log_probabilities(snapshot, rest, had)[rows_R] for past, rest in reduced.items()
    }
    return [
        _strongest({past: float(p_R[i]) for past, p_R in pushes.items()}, most) for i in range(len(rows_R))
    ]


def in_words(titles: Sequence[str], history: bool = True) -> str:
    """Return the reasons, strongest first, as a sentence.

    Args:
        titles: of the past items.
        history: whether there is one.
    """
    if not titles:
        return "Fits your history as a whole." if history else "Liked by many; you have no history here yet."
    quoted = [f"“{title}”" for title in titles]
    return f"Because of {' and '.join(filter(None, (', '.join(quoted[:-1]), quoted[-1])))}."


def _encoded(snapshot: Snapshot) -> tuple[Read, dict[int, Read]]:
    """Return what the history comes to, and recent item -> what it comes to without its recent events.

    What lies before the recent events is encoded once.
    """
    runtime, offsets_S, rows = snapshot
    recent = min(RECENT, max(1, SCORED // len(runtime.catalog)))
    first = max(0, len(rows) - recent)
    state, query_d = runtime.replay(rows[:first], offsets_S)
    reduced: dict[int, Read] = {}
    for place in range(first, len(rows)):
        past = rows[place]
        rest = [row for row in rows[place + 1 :] if row != past]
        if past not in reduced:
            without_d = runtime.advance(state, rest, offsets_S)[1][-1] if rest else query_d
            reduced[past] = Read(without_d, [*rows[:place], *rest][-REACH:])
        state, query_d = runtime.step(state, past, offsets_S)
    return Read(query_d, rows[-REACH:]), reduced


def _log_probabilities(snapshot: Snapshot, read: Read, had: np.ndarray) -> np.ndarray:
    """Return log p of every item, float64 [I + 1], after what was ``read``; -infinity where had."""
    scores_I = snapshot.runtime.scores(read.query_d, read.newest, had).astype(np.float64)
    scores_I[had] = -np.inf
    highest = scores_I.max()
    return scores_I - highest - np.log(np.exp(scores_I - highest).sum())


def _strongest(pushes: dict[int, float], most: int) -> list[Reason]:
    told = [Reason(past, push) for past, push in pushes.items() if push >= LEAST]
    return sorted(told, key=lambda reason: -reason.push)[:most]
