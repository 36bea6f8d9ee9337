"""How personal a model is: the same history ranked with the person's offsets, and with none.

Shapes: I items.
"""

from typing import NamedTuple

import numpy as np

from pfsr.device.reports import Snapshot
from pfsr.model.memory import REACH


class Place(NamedTuple):
    """An item, as its catalogue row, and its rank from 1 under both; equal scores go by row."""

    row: int
    personal: int
    general: int


class Standing(NamedTuple):
    """The best items under both.

    Attributes:
        personal: the best with the person's offsets, best first.
        general: the best without, best first.
        learned: whether there are offsets at all.
    """

    personal: list[Place]
    general: list[Place]
    learned: bool

    @property
    def only_here(self) -> int:
        """How many of the personal best are not among the general best."""
        return len({place.row for place in self.personal} - {place.row for place in self.general})

    def in_words(self) -> str:
        """Return what there is to say, as a sentence."""
        count = len(self.personal)
        if not self.learned:
            return "Nothing has been learned from you yet: anyone with your history would get the same."
        if self.only_here:
            are = "is" if self.only_here == 1 else "are"
            return f"{self.only_here} of your {count} suggestions {are} only there for you."
        if self.personal != self.general:
            return f"Anyone with your history would get the same {count} suggestions, but in another order."
        return f"Anyone with your history would get the same {count} suggestions, in the same order."


def compare(snapshot: Snapshot, k: int) -> Standing:
    """Rank everything the person has not had twice; return the best ``k`` of both."""
    learned = bool(snapshot.offsets_S.any())
    personal_I = _ranks(snapshot)
    general_I = _ranks(snapshot._replace(offsets_S=np.zeros_like(snapshot.offsets_S)))
    left = len(snapshot.runtime.catalog) - len(set(snapshot.rows))
    best = [np.argsort(ranks_I)[: min(k, left)].tolist() for ranks_I in (personal_I, general_I)]
    places = [[Place(row, int(personal_I[row]), int(general_I[row])) for row in rows] for rows in best]
    return Standing(places[0], places[1], learned)


def _ranks(snapshot: Snapshot) -> np.ndarray:
    """Return the rank of every item, int64 [I + 1]; padding and what the person has had come last."""
    runtime, offsets_S, rows = snapshot
    scores_I = runtime.scores(runtime.replay(rows, offsets_S)[1], rows[-REACH:], rows)
    scores_I[list(set(rows))] = -np.inf
    ranks_I = np.empty(len(scores_I), np.int64)
    ranks_I[np.argsort(-scores_I, kind="stable")] = np.arange(1, len(scores_I) + 1)
    return ranks_I
