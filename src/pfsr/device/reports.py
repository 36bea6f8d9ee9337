"""What a device tells its app: recommendations, where it stands, and what each verb did.

Shapes: S private offsets.
"""

from collections.abc import Hashable
from typing import NamedTuple

import numpy as np

from pfsr.device.runtime import Runtime


class Recommendation(NamedTuple):
    """An item, its title (or its id as text) and its score; a higher score is more likely next."""

    item_id: Hashable
    title: str
    score: float


class ModelChange(NamedTuple):
    """What a change of the model meant.

    Attributes:
        version: of the model in use now.
        previous: of the one that ``rollback`` returns to.
        offsets: ``kept``, ``reset`` (the model has other sites: the person starts as the global model, until
            learning or a rollback) or ``none`` (nothing was learned yet).
        waiting: events of items that the catalogue does not know; they are kept for a newer one.
    """

    version: str
    previous: str | None
    offsets: str
    waiting: int


class LearnReport(NamedTuple):
    """What learning did.

    Attributes:
        steps: how many were taken before the time was up.
        events: of the history, with items that the catalogue knows.
        loss_before, loss_after: mean loss per event of the stretch that was learned from.
        kept: whether the new offsets are in use; not if no step was taken, or if model or data were changed
            meanwhile.
    """

    steps: int
    events: int
    loss_before: float
    loss_after: float
    kept: bool


class Status(NamedTuple):
    """Where a device stands.

    Attributes:
        model_version: of the model that answers now; None: there is none yet.
        previous_version: of the one that ``rollback`` returns to.
        offsets_version: of the private offsets that answer now; 0: the global model.
        events: how many there are.
        waiting: how many of them are of items that the catalogue does not know.
        learning_paused: whether ``learn`` and ``take_part`` are forbidden.
    """

    model_version: str | None
    previous_version: str | None
    offsets_version: int
    events: int
    waiting: int
    learning_paused: bool


class Snapshot(NamedTuple):
    """What answers at one moment, for whoever computes more from it; none of it changes any more.

    Attributes:
        runtime: the model.
        offsets_S: the private offsets, float32; zeros are the global model.
        rows: the history as catalogue rows, oldest first, without the items that the catalogue lacks.
    """

    runtime: Runtime
    offsets_S: np.ndarray
    rows: list[int]
