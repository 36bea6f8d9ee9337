"""What leaves a device: every field, its shape and its bytes, in one place.

The size of a message does not depend on the history; its contents do. Whoever reads a single client's message
in clear can tell which items are in the history (from the item table's rows and signs), so messages
need secure sums and noise before they may leave a real device. The simulator sends nothing anywhere.

Shapes: B clients, M rows of a local item table, I items, d = d_model, G site groups.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from pfsr.model.amb import Weights
from pfsr.model.encoder import ITEM_BIAS, ITEMS


class Updates(NamedTuple):
    """The updates of B clients, one row a client.

    Attributes:
        deltas: movement of every shared tensor except the item table and biases, [B, *shape].
        table_BMd: movement of the item table, at ``rows_BM``.
        bias_BM: movement of the item biases, at ``rows_BM``.
        rows_BM: item rows that a client touched (None: all, in order). A way to save memory inside one
            process; it never leaves: on the wire tables are dense (:func:`wire`).
        weight_B: events trained on.
        loss_B: mean loss before the shared steps.
        spread_BG: one clipped number per site group, for tau^2 (Dynamic Magnitude Loss).
        within_BT: 1 where a shared tensor's movement stayed under its limit c (in the order of the weights).
    """

    deltas: Weights
    table_BMd: Tensor
    bias_BM: Tensor
    rows_BM: Tensor | None
    weight_B: Tensor
    loss_B: Tensor
    spread_BG: Tensor
    within_BT: Tensor


class Field(NamedTuple):
    """One thing that leaves a device."""

    name: str
    shape: tuple[int, ...]

    @property
    def size(self) -> int:
        """How many float32 numbers."""
        return int(torch.Size(self.shape).numel())


def wire_fields(weights: Weights, groups: int) -> list[Field]:
    """List every field of one client's message, in order. Nothing else is sent."""
    moved = [Field(f"delta.{name}", tuple(w.shape)) for name, w in weights.items()]
    return [
        *moved,
        Field("weight", ()),
        Field("loss", ()),
        Field("spread", (groups,)),
        Field("within", (len(weights),)),
    ]


def wire_bytes(weights: Weights, groups: int) -> int:
    """Return the size of one client's message; the same for everybody."""
    return 4 * sum(field.size for field in wire_fields(weights, groups))


def wire(updates: Updates, client: int, weights: Weights) -> Tensor:
    """Return one client's message: the fields of :func:`wire_fields`, one flat float32 vector."""
    parts = [dense_delta(updates, name, client, w).flatten() for name, w in weights.items()]
    scalars = (updates.weight_B, updates.loss_B)
    rest = [s[client, None] for s in scalars] + [updates.spread_BG[client], updates.within_BT[client]]
    return torch.cat(parts + rest)


def dense_delta(updates: Updates, name: str, client: int, weight: Tensor) -> Tensor:
    """Return one client's movement of one shared tensor, in that tensor's shape."""
    if name not in (ITEMS, ITEM_BIAS):
        return updates.deltas[name][client]
    local = (updates.table_BMd if name == ITEMS else updates.bias_BM)[client]
    if updates.rows_BM is None:
        return local
    return torch.zeros_like(weight).index_add_(0, updates.rows_BM[client], local)
