"""Updates -> one pseudo-gradient, by way of partial sums (a chunk of a cohort, a gateway, a masked sum)."""

from collections.abc import Sequence
from functools import reduce
from typing import NamedTuple

import torch
from torch import Tensor

from pfsr.errors import PfsrError
from pfsr.federated.update import Updates
from pfsr.model.amb import Weights
from pfsr.model.encoder import ITEM_BIAS, ITEMS
from pfsr.model.thin import Moved, weighted_sum, write_out


class PartialSum(NamedTuple):
    """Sums over clients; adding two of them gives the sum over both groups.

    Attributes:
        deltas: sum of weight x movement, per shared tensor.
        weight: sum of weights (events).
        loss: sum of weight x loss.
        spread_G: sum of the clients' clipped numbers per site group.
        within_T: how many clients stayed under each tensor's limit.
        clients: how many clients are in the sum.
    """

    deltas: Weights
    weight: Tensor
    loss: Tensor
    spread_G: Tensor
    within_T: Tensor
    clients: int


def partial_sum(updates: Updates, weights: Weights) -> PartialSum:
    """Add up the updates of one batch of clients, each weighted by its number of events."""
    weight_B = updates.weight_B
    deltas = {name: weighted_sum(updates.deltas[name], weight_B) for name in updates.deltas}
    deltas[ITEMS] = _scatter(updates.table_BMd, updates.rows_BM, weight_B, weights[ITEMS])
    deltas[ITEM_BIAS] = _scatter(updates.bias_BM, updates.rows_BM, weight_B, weights[ITEM_BIAS])
    return PartialSum(
        {name: deltas[name] for name in weights},
        weight_B.sum(),
        weight_B @ updates.loss_B,
        updates.spread_BG.sum(0),
        updates.within_BT.sum(0),
        len(weight_B),
    )


def add(sums: Sequence[PartialSum]) -> PartialSum:
    """Add partial sums, in the order given."""
    return reduce(_add_two, sums)


def _add_two(a: PartialSum, b: PartialSum) -> PartialSum:
    return PartialSum(
        {name: delta + b.deltas[name] for name, delta in a.deltas.items()},
        a.weight + b.weight,
        a.loss + b.loss,
        a.spread_G + b.spread_G,
        a.within_T + b.within_T,
        a.clients + b.clients,
    )


def pseudo_gradient(total: PartialSum, local_rate: float) -> Weights:
    """Return minus the average movement, per unit of local learning rate.

    Raises:
        PfsrError: a client sent a number that is not finite; the round must not be applied.
    """
    numbers = {"weight": total.weight, "loss": total.loss, "spread": total.spread_G, "within": total.within_T}
    for name, value in (numbers | total.deltas).items():
        if not bool(value.isfinite().all()):
            raise PfsrError(
                f"updates of {name} are not finite; lower federated.server_rate, federated.local_rate "
                "or response.rate"
            )
    gradient = {name: delta / (-local_rate * total.weight) for name, delta in total.deltas.items()}
    gradient[ITEMS][0] = 0
    return gradient


def _scatter(local: Moved, rows_BM: Tensor | None, weight_B: Tensor, like: Tensor) -> Tensor:
    if rows_BM is None:
        return weighted_sum(local, weight_B)
    local = write_out(local)
    scaled = local * weight_B.view(-1, *[1] * (local.ndim - 1))
    return torch.zeros_like(like).index_add_(0, rows_BM.flatten(), scaled.flatten(0, 1))
