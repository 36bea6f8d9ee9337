"""A trained model as a method under evaluation: the same for everybody, or with each person's offsets."""

from dataclasses import dataclass

import numpy as np

from pfsr.model.recommender import Recommender
from pfsr.simulation.private_store import PrivateStore


@dataclass(frozen=True)
class ModelScorer:
    """Scores with ``model``, and with the private offsets in ``store`` when there is one.

    Attributes:
        name: ``global`` or ``personal``.
        model: the shared model.
        window: most recent events of a history that are read.
        store: everybody's private parameters; None: the global model.
        donors: int64 [people], whose private parameters each person is served with; None: their own.
    """

    name: str
    model: Recommender
    window: int
    store: PrivateStore | None = None
    donors: np.ndarray | None = None

    def score(self, people: np.ndarray, histories: list[np.ndarray]) -> np.ndarray:
        """Return scores float32 [n, items + 1] (see ``evaluation.Scorer``)."""
        givers = people if self.donors is None else self.donors[people]
        offsets = None if self.store is None else self.store.read(givers).offsets_BS
        return self.model.score(histories, offsets, self.window).numpy()
