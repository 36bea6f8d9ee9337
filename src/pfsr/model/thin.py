"""Movements of an item table, one a client, kept as sums of outer products.

A client with T events moves the item table by a matrix of rank 2 T at most: every event moves all rows along
its query, and the row of every item read moves too. With six events and 12,000 items that is far less than
the matrix itself, and all that a sum over clients needs of it (its norm, a multiple, a weighted sum) can be
had without writing it out. What it says is the same, to rounding.

Shapes: B clients, N events of all clients together, T of one, M rows of the item table, K columns (none for
biases).
"""

from typing import NamedTuple

import torch
from torch import Tensor


class Thin(NamedTuple):
    """Every client's movement: over its events n, left_NM[n] x right_NK[n], and own_NK[n] on a single row.

    Attributes:
        left_NM: how much of ``right_NK`` every row gets.
        right_NK: [N, K], or [N] for biases.
        lengths: events of each client; those of one client lie together.
        rows_N: int64, the row that ``own_NK`` is added to; None: nothing is.
        own_NK: see ``rows_N``.
    """

    left_NM: Tensor
    right_NK: Tensor
    lengths: list[int]
    rows_N: Tensor | None = None
    own_NK: Tensor | None = None


Moved = Tensor | Thin
"""A movement of every client: written out, [B, M, ...], or thin."""


def norms(moved: Moved) -> Tensor:
    """Return the length of every client's movement, [B]."""
    if isinstance(moved, Tensor):
        return moved.flatten(1).norm(dim=1)
    return torch.stack([_square(one) for one in _clients(moved)]).clamp(min=0).sqrt()


def scale(moved: Moved, by: Tensor | float) -> Moved:
    """Return movements times one number, or each client's times its own [B]; in place if written out."""
    if isinstance(moved, Tensor):
        return moved.mul_(by.view(-1, *[1] * (moved.ndim - 1)) if isinstance(by, Tensor) else by)
    return _scaled(moved, by)


def weighted_sum(moved: Moved, weight_B: Tensor) -> Tensor:
    """Return the sum over clients of weight x movement, [M, ...]."""
    if isinstance(moved, Tensor):
        return (weight_B @ moved.flatten(1)).view(moved.shape[1:])
    return _sum(_scaled(moved, weight_B))


def write_out(moved: Moved) -> Tensor:
    """Return every client's movement, [B, M, ...]."""
    return moved if isinstance(moved, Tensor) else torch.stack([_sum(one) for one in _clients(moved)])


def one_of(moved: Moved, client: int) -> Moved:
    """Return the movement of one client, as that of a batch of one."""
    return moved[client, None] if isinstance(moved, Tensor) else _clients(moved)[client]


def _scaled(moved: Thin, by: Tensor | float) -> Thin:
    if isinstance(by, Tensor):
        by_N = by.repeat_interleave(torch.tensor(moved.lengths))
        by = by_N.view(-1, *[1] * (moved.right_NK.ndim - 1))
    own_NK = None if moved.own_NK is None else moved.own_NK * by
    return moved._replace(right_NK=moved.right_NK * by, own_NK=own_NK)


def _sum(moved: Thin) -> Tensor:
    total_MK = moved.left_NM.T @ moved.right_NK
    if moved.rows_N is not None and moved.own_NK is not None:
        total_MK.index_add_(0, moved.rows_N, moved.own_NK)
    return total_MK


def _square(one: Thin) -> Tensor:
    """Return the squared length of one client's movement, by the inner products of its terms."""
    left_TM, right_TK = one.left_NM, one.right_NK.view(len(one.right_NK), -1)
    square = (left_TM @ left_TM.T * (right_TK @ right_TK.T)).sum()
    if one.rows_N is None or one.own_NK is None:
        return square
    same_TT = one.rows_N[:, None] == one.rows_N
    crossed = left_TM[:, one.rows_N] * (right_TK @ one.own_NK.T)
    return square + 2 * crossed.sum() + (same_TT * (one.own_NK @ one.own_NK.T)).sum()


def _clients(moved: Thin) -> list[Thin]:
    """Return each client's own movement."""
    rows, own = moved.rows_N, moved.own_NK
    nothing = [None] * len(moved.lengths)
    parts = zip(
        moved.left_NM.split(moved.lengths),
        moved.right_NK.split(moved.lengths),
        moved.lengths,
        nothing if rows is None else rows.split(moved.lengths),
        nothing if own is None else own.split(moved.lengths),
        strict=True,
    )
    return [Thin(left, right, [length], *rest) for left, right, length, *rest in parts]
