"""The item table in fewer bits, and what that costs.

    float16   the nearest of half precision
    int8      round(127 v / max |v|) with one float32 factor per row

Shapes: B histories, I items, d = d_model.
"""

from typing import NamedTuple

import numpy as np
import torch

from pfsr.device.manifest import Table
from pfsr.device.weights import ITEM_SCALE, ITEMS, item_table
from pfsr.errors import PfsrError
from pfsr.model.recommender import Recommender

HISTORIES, EVENTS, AT_A_TIME = 64, 20, 8
"""Random histories that the loss is measured on."""


class TableLoss(NamedTuple):
    """What storing the item table in fewer bits costs.

    Attributes:
        scores: root mean square of the scores' errors, as a share of their standard deviation.
        top10: share of the best 10 items that are no longer among them.
    """

    scores: float
    top10: float


NO_LOSS = TableLoss(0, 0)


def stored_table(items_Id: np.ndarray, table: Table) -> dict[str, np.ndarray]:
    """Return the tensors that stand for the item table.

    Raises:
        PfsrError: a number is too large for half precision.
    """
    if table == "int8":
        scale_I = np.abs(items_Id).max(1) / 127
        steps_Id = items_Id / np.where(scale_I > 0, scale_I, 1)[:, None]
        return {ITEMS: np.rint(steps_Id).astype(np.int8), ITEM_SCALE: scale_I.astype(np.float32)}
    if table == "float16" and np.abs(items_Id).max() > np.finfo(np.float16).max:
        raise PfsrError("item vectors are too large for --table float16; use int8 or float32")
    return {ITEMS: items_Id.astype(table)}


def with_table(model: Recommender, stored: dict[str, np.ndarray]) -> Recommender:
    """Return the model as it is with a table that was stored."""
    items_Id = item_table(stored).in_memory().stored
    weights = model.weights | {ITEMS: torch.from_numpy(items_Id)}
    return Recommender(model.config, model.catalog, weights, model.memory)


def table_loss(model: Recommender, stored: Recommender) -> TableLoss:
    """Return what the scores of ``stored`` differ from those of ``model`` by, after random histories."""
    histories, error, spread, lost = random_histories(len(model.catalog), HISTORIES), 0.0, 0.0, 0.0
    for begin in range(0, HISTORIES, AT_A_TIME):
        some = list(histories[begin : begin + AT_A_TIME])
        before_BI, after_BI = model.score(some)[:, 1:], stored.score(some)[:, 1:]
        error += float((after_BI - before_BI).square().mean())
        spread += float(before_BI.var(1, correction=0).mean())
        lost += _lost(before_BI, after_BI)
    return TableLoss((error / spread) ** 0.5 if spread else 0.0, lost * AT_A_TIME / HISTORIES)


def random_histories(items: int, count: int) -> np.ndarray:
    """Return rows of items drawn at random, int64 [count, EVENTS]; always the same ones."""
    return np.random.default_rng(0).integers(1, items + 1, (count, EVENTS))


def _lost(before_BI: torch.Tensor, after_BI: torch.Tensor) -> float:
    k = min(10, before_BI.shape[1])
    before_Bk, after_Bk = before_BI.topk(k).indices, after_BI.topk(k).indices
    return 1 - float((before_Bk[:, :, None] == after_Bk[:, None]).any(2).float().mean())
