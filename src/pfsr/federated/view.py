"""A client's own view of the shared weights, so that each moves only its own copy.

The first local step reads the shared tensors through expanded views: no copy is made. Against sampled
negatives a client holds only the item rows it may touch (the negatives, then its own items).

Shapes: B clients, L events, M rows of the local item table, K negatives, d = d_model.
"""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from pfsr.federated.batch import ClientBatch
from pfsr.model.amb import Weights
from pfsr.model.encoder import ITEM_BIAS, ITEMS
from pfsr.model.thin import Moved


class Broadcast(NamedTuple):
    """What the server sends to every client of a round.

    Attributes:
        weights: the shared model.
        spread_G: tau^2 per site group (Dynamic Magnitude Loss).
        limits_T: c per shared tensor, in the order of ``weights``.
        version: rounds behind ``weights``.
        negatives: int64 [K] item rows common to the cohort (sent as a seed); None: full cross-entropy.
    """

    weights: Weights
    spread_G: Tensor
    limits_T: Tensor
    version: int
    negatives: Tensor | None


class View(NamedTuple):
    """The weights as B clients hold them, each tensor with a leading client axis.

    Attributes:
        weights: all shared tensors but the item table and biases, [B, *shape].
        table_BMd: local item table.
        bias_BM: local item biases.
        rows_BM: the catalogue rows that the table holds (0 where it is padded); None: the whole catalogue.
        items_BL, targets_BL: the batch's items as rows of the local table.
        negatives: how many rows of the table are negatives (0: full cross-entropy).
        catalogue: how many items there are in all.
    """

    weights: Weights
    table_BMd: Tensor
    bias_BM: Tensor
    rows_BM: Tensor | None
    items_BL: Tensor
    targets_BL: Tensor
    negatives: int
    catalogue: int


class Movement(NamedTuple):
    """How far the shared weights of B clients move, or the gradient that they move along.

    Attributes:
        weights: all shared tensors but the item table and biases, [B, *shape].
        table_BMd: local item table.
        bias_BM: local item biases.
    """

    weights: Weights
    table_BMd: Moved
    bias_BM: Moved


def receive(broadcast: Broadcast, batch: ClientBatch) -> View:
    """Return the view that every client of ``batch`` starts from."""
    clients = len(batch.lengths)
    table, bias = broadcast.weights[ITEMS], broadcast.weights[ITEM_BIAS]
    rest = {
        n: w.expand(clients, *w.shape) for n, w in broadcast.weights.items() if n not in (ITEMS, ITEM_BIAS)
    }
    if broadcast.negatives is None:
        tables = table.expand(clients, *table.shape), bias.expand(clients, *bias.shape)
        return View(rest, *tables, None, batch.items_BL, batch.targets_BL, 0, len(table) - 1)
    rows, items, targets = _local_rows(batch, broadcast.negatives.numpy())
    return View(rest, table[rows], bias[rows], rows, items, targets, len(broadcast.negatives), len(table) - 1)


def _local_rows(batch: ClientBatch, negatives_K: np.ndarray) -> tuple[Tensor, Tensor, Tensor]:
    """Number the rows each client touches: negatives first, in order, then its other items."""
    events = torch.cat([batch.items_BL, batch.targets_BL], 1).numpy()
    order = np.argsort(negatives_K)
    numbered = [_number(row, negatives_K, order) for row in events]
    most = max(len(rest) for rest, _ in numbered)
    rows = np.zeros((len(events), len(negatives_K) + most), dtype=np.int64)
    rows[:, : len(negatives_K)] = negatives_K
    for row, (rest, _) in zip(rows, numbered, strict=True):
        row[len(negatives_K) : len(negatives_K) + len(rest)] = rest
    local = torch.from_numpy(np.stack([places for _, places in numbered]))
    length = batch.items_BL.shape[1]
    return torch.from_numpy(rows), local[:, :length], local[:, length:]


def _number(events: np.ndarray, negatives_K: np.ndarray, order: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return one client's items that are not negatives, and the local row of each of its events."""
    own, back = np.unique(events, return_inverse=True)
    found = order[np.searchsorted(negatives_K, own, sorter=order).clip(max=len(order) - 1)]
    shared = negatives_K[found] == own
    place = np.where(shared, found, len(negatives_K) + np.cumsum(~shared) - 1)
    return own[~shared], place[back]
