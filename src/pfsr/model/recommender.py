"""A trained model in use: histories in, ranked items out; or one event at a time at constant cost.

Shapes: B people, I items, S private offsets.
"""

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import polars as pl
import torch
from torch import Tensor

from pfsr.config import ModelConfig
from pfsr.data.catalog import Catalog
from pfsr.errors import NotFiniteError, PfsrError
from pfsr.model.amb import Weights
from pfsr.model.encoder import ITEMS, embed, empty_states, encode, encode_step, scores
from pfsr.model.encoders.layers import LayerState
from pfsr.model.memory import PairMemory
from pfsr.model.response import Sites, respond, response_sites

State = list[LayerState]
"""What a model remembers of one history; its size does not depend on the history's length."""


@dataclass(frozen=True)
class Recommender:
    """Scores a catalogue after a history, for anyone: people never seen in training included.

    Attributes:
        config: the model's shape.
        catalog: the items it knows.
        weights: the shared model.
        memory: pairs of items that count beside it; None: the encoder alone.
    """

    config: ModelConfig
    catalog: Catalog
    weights: Weights
    memory: PairMemory | None = None

    @cached_property
    def sites(self) -> Sites:
        """Where a person's private offsets act."""
        return response_sites(self.config)

    def recommend(
        self,
        histories: Sequence[Iterable[Hashable]],
        k: int = 10,
        *,
        offsets_BS: Tensor | None = None,
        exclude_seen: bool = True,
        window: int | None = None,
    ) -> pl.DataFrame:
        """Return the ``k`` best next items for each history.

        Args:
            histories: item ids, oldest first; an empty one gets the items with the highest bias.
            k: items per history; fewer where fewer are left.
            offsets_BS: the people's private offsets; None: the global model.
            exclude_seen: leave out what is in the history.
            window: most recent events that are read, which bounds the cost; all of them by default.

        Returns:
            a frame with ``person`` (the history's position), ``rank``, ``item_id``, ``title``, ``score``.

        Raises:
            PfsrError: an item id is unknown, or ``k`` or ``window`` is not positive.
        """
        if k < 1:
            raise PfsrError(f"k must be at least 1 (got {k})")
        if window is not None and window < 1:
            raise PfsrError(f"window must be at least 1 (got {window})")
        rows = [self.catalog.rows(history) for history in histories]
        scored = self.score(rows, offsets_BS, window)
        if exclude_seen:
            for person, seen in enumerate(rows):
                scored[person, seen] = -torch.inf
        return self._frame(*scored.topk(min(k, len(self.catalog)), dim=1))

    def score(
        self, histories: Sequence[np.ndarray], offsets_BS: Tensor | None = None, window: int | None = None
    ) -> Tensor:
        """Return the score of every item [B, I + 1] after each history of catalogue rows.

        Column 0 (padding) is minus infinity. A softmax over a row gives the model's probabilities.
        The encoder reads the ``window`` most recent events; all of them by default.
        """
        read = histories if window is None else [history[-window:] for history in histories]
        scores_BI = self._encoder_scores(read, offsets_BS)
        if self.memory:
            self.memory.add_to_all(scores_BI.numpy(), histories)
        return scores_BI

    @torch.no_grad()
    def _encoder_scores(self, histories: Sequence[np.ndarray], offsets_BS: Tensor | None) -> Tensor:
        weights = self._personal(offsets_BS)
        items_BL = _padded(histories)
        query_BLd = encode(weights, embed(weights[ITEMS], items_BL), items_BL > 0, self.config)
        lengths = torch.tensor([len(history) for history in histories], dtype=torch.long)
        last_Bd = query_BLd[torch.arange(len(histories)), (lengths - 1).clamp(min=0)]
        last_Bd[lengths == 0] = 0
        return _finite(scores(weights, last_Bd))

    def start(self) -> State:
        """Return the state of a person with no history.

        Raises:
            PfsrError: the encoder has no state of constant size.
        """
        return empty_states(1, self.config, self.weights[ITEMS])

    @torch.no_grad()
    def step(self, state: State, item_id: Hashable, offsets_1S: Tensor | None = None) -> tuple[State, Tensor]:
        """Take in one event; return the new state and the encoder's score of every item [I + 1].

        The scores equal those of :meth:`score` for the whole history, but for what a memory of pairs adds to
        them (``memory.add_to``); the cost does not grow with it. Use the same offsets for a history's every
        step.

        Raises:
            PfsrError: the item id is unknown, or the encoder has no state of constant size.
        """
        weights = self._personal(offsets_1S)
        x_11d = embed(weights[ITEMS], torch.tensor([[self.catalog.row(item_id)]]))
        state, query_11d = encode_step(weights, state, x_11d, self.config)
        return state, _finite(scores(weights, query_11d[:, 0]))[0]

    def _personal(self, offsets_BS: Tensor | None) -> Weights:
        return self.weights if offsets_BS is None else respond(self.weights, self.sites.split(offsets_BS))

    def _frame(self, best_Bk: Tensor, rows_Bk: Tensor) -> pl.DataFrame:
        people, places = torch.nonzero(best_Bk > -torch.inf, as_tuple=True)
        rows = rows_Bk[people, places].tolist()
        ids = [self.catalog.item_id(row) for row in rows]
        return pl.DataFrame(
            {
                "person": people.numpy(),
                "rank": places.numpy() + 1,
                "item_id": pl.Series(ids, dtype=_id_type(ids)),
                "title": [self.catalog.title(row) for row in rows],
                "score": best_Bk[people, places].numpy(),
            }
        )


def _padded(histories: Sequence[np.ndarray]) -> Tensor:
    longest = max((len(history) for history in histories), default=0)
    items = np.zeros((len(histories), max(longest, 1)), dtype=np.int64)
    for row, history in zip(items, histories, strict=True):
        row[: len(history)] = history
    return torch.from_numpy(items)


def _id_type(ids: list[Hashable]) -> pl.DataType | type[pl.DataType] | None:
    return (
        None
        if all(isinstance(i, str) for i in ids) or all(type(i) is int and abs(i) < 2**63 for i in ids)
        else pl.Object
    )


def _finite(scores_BI: Tensor) -> Tensor:
    if not bool(scores_BI[:, 1:].isfinite().all()):
        raise NotFiniteError(
            "the model's scores are not finite; its weights are damaged, load another bundle"
        )
    return scores_BI
