"""What goes into a lesson and what comes out, for those who have no PyTorch.

Shapes: S private offsets.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np


class Lesson(NamedTuple):
    """What is learned from.

    Attributes:
        folder: of the device model.
        rows: catalogue rows of the history, oldest first.
        offsets_S: the private offsets so far, float32.
        fisher_S: their Fisher information, zeros where nothing is known.
        rounds: how often was learned before.
    """

    folder: Path
    rows: Sequence[int]
    offsets_S: np.ndarray
    fisher_S: np.ndarray
    rounds: float


class Learned(NamedTuple):
    """What private steps led to.

    Attributes:
        offsets_S, fisher_S: float32.
        steps: how many were taken.
        loss_before, loss_after: mean loss per event of the stretch that was learned from.
    """

    offsets_S: np.ndarray
    fisher_S: np.ndarray
    steps: int
    loss_before: float
    loss_after: float


class TookPart(NamedTuple):
    """What one participation led to: what stays, and what is to leave.

    Attributes:
        offsets_S, fisher_S: float32; they stay.
        upload: the message for the server.
        fields: the names of all that is in it.
        version: of the model that the server sent.
    """

    offsets_S: np.ndarray
    fisher_S: np.ndarray
    upload: bytes
    fields: tuple[str, ...]
    version: str
