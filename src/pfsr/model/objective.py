"""Next-item loss, full or sampled, with hand-written gradients.

The losses return gradients next to values, per client and per event, because federated learning needs
them apart: a client's own item-table gradient, and per-event gradients for the Fisher information.
Working client by client keeps the logits (T x I) in cache and never touches padding; short histories are
worked on together, since for them reading and writing the item table is most of the work.

Shapes: B clients, L events, T events of one client, N events of all clients, d = d_model, I items, M rows of
a local item table, K negatives or rows, P pairs.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from pfsr.model.thin import Moved, Thin


class Seen(NamedTuple):
    """Which rows of one client's local item table do not compete with its targets.

    Attributes:
        always_K: int64, at no event.
        events_P, rows_P: int64, pairs of an event (ascending) and a row.
    """

    always_K: Tensor
    events_P: Tensor
    rows_P: Tensor


class NextItems(NamedTuple):
    """What is to be predicted.

    Attributes:
        targets_BL: int64, the item after each event, as a row of the local table.
        lengths: how many events of each client are real.
        seen: what each client's targets are not compared with; empty: everything competes.
    """

    targets_BL: Tensor
    lengths: list[int]
    seen: Sequence[Seen] = ()


class LossAndGradients(NamedTuple):
    """Loss of every event, and gradients of each client's *mean* loss except where said.

    Attributes:
        loss_BL: cross-entropy per event, 0 at padding.
        query_BLd: gradient of each event's *own* loss with respect to its query.
        table_BMd: with respect to the client's item table.
        bias_BM: with respect to the client's item biases.
    """

    loss_BL: Tensor
    query_BLd: Tensor
    table_BMd: Moved
    bias_BM: Moved


def full_cross_entropy(
    query_BLd: Tensor, table_BMd: Tensor, bias_BM: Tensor, wanted: NextItems
) -> LossAndGradients:
    """Cross-entropy over the whole catalogue: M = I + 1 rows, row 0 is padding and gets no probability."""
    out, table_grad_BMd, bias_grad_BM = _empty(query_BLd, table_BMd)
    for client, length in enumerate(wanted.lengths):
        query_Td, target_T1 = query_BLd[client, :length], wanted.targets_BL[client, :length, None]
        logit_TM = torch.addmm(bias_BM[client], query_Td, table_BMd[client].T)
        out.loss_BL[client, :length] = _to_errors(logit_TM, target_T1, client, wanted)
        torch.mm(logit_TM, table_BMd[client], out=out.query_BLd[client, :length])
        torch.mm(logit_TM.T, query_Td / length, out=table_grad_BMd[client])
        torch.mean(logit_TM, 0, out=bias_grad_BM[client])
    return out


def thin_cross_entropy(
    query_BLd: Tensor, table_Md: Tensor, bias_M: Tensor, wanted: NextItems
) -> LossAndGradients:
    """:func:`full_cross_entropy` of clients who share one item table, with their gradients left thin."""
    places = torch.arange(query_BLd.shape[1]) < torch.tensor(wanted.lengths)[:, None]
    query_Nd, target_N1 = query_BLd[places], wanted.targets_BL[places][:, None]
    error_NM = torch.addmm(bias_M, query_Nd, table_Md.T)
    parts = zip(error_NM.split(wanted.lengths), target_N1.split(wanted.lengths), strict=True)
    losses = [
        _to_errors(logit_TM, target_T1, client, wanted) for client, (logit_TM, target_T1) in enumerate(parts)
    ]
    share_N = torch.cat([query_BLd.new_full((length,), 1 / length) for length in wanted.lengths])
    loss_BL, grad_BLd = query_BLd.new_zeros(places.shape), torch.zeros_like(query_BLd)
    loss_BL[places], grad_BLd[places] = torch.cat(losses), error_NM @ table_Md
    table = Thin(error_NM, query_Nd * share_N[:, None], wanted.lengths)
    return LossAndGradients(loss_BL, grad_BLd, table, Thin(error_NM, share_N, wanted.lengths))


def sampled_cross_entropy(
    query_BLd: Tensor,
    table_BMd: Tensor,
    bias_BM: Tensor,
    wanted: NextItems,
    negatives: int,
    items: int,
) -> LossAndGradients:
    """Cross-entropy of the target against ``negatives`` uniformly drawn items, the first rows of the table.

    Each negative stands for items / negatives of its kind (log-correction), so that the expected sum over
    negatives is the sum over the catalogue. A negative that happens to be the target is left out. Pairs of
    ``wanted.seen`` name negatives only.
    """
    out, table_grad_BMd, bias_grad_BM = _empty(query_BLd, table_BMd)
    correction = math.log(items / negatives)
    for client, length in enumerate(wanted.lengths):
        query_Td, target_T = query_BLd[client, :length], wanted.targets_BL[client, :length]
        table_Kd, target_Td = table_BMd[client, :negatives], table_BMd[client][target_T]
        logit_TK = torch.addmm(bias_BM[client, :negatives] + correction, query_Td, table_Kd.T)
        _silence(logit_TK, client, wanted)
        hit = target_T < negatives
        logit_TK[hit.nonzero()[:, 0], target_T[hit]] = -torch.inf
        own_T1 = (query_Td * target_Td).sum(1, keepdim=True) + bias_BM[client][target_T, None]
        logits = torch.cat([own_T1, logit_TK], 1)
        log_p = logits.log_softmax(1)
        out.loss_BL[client, :length] = -log_p[:, 0]
        error = log_p.exp()
        error[:, 0] -= 1
        torch.addmm(error[:, :1] * target_Td, error[:, 1:], table_Kd, out=out.query_BLd[client, :length])
        table_grad, bias_grad = table_grad_BMd[client].zero_(), bias_grad_BM[client].zero_()
        torch.mm(error[:, 1:].T, query_Td / length, out=table_grad[:negatives])
        table_grad.index_add_(0, target_T, error[:, :1] * query_Td / length)
        bias_grad[:negatives] = error[:, 1:].mean(0)
        bias_grad.index_add_(0, target_T, error[:, 0] / length)
    return out


def _to_errors(logit_TM: Tensor, target_T1: Tensor, client: int, wanted: NextItems) -> Tensor:
    """Turn one client's logits into the gradients of its losses by them, in place; return the losses."""
    own_T1 = logit_TM.gather(1, target_T1)
    logit_TM[:, 0] = -torch.inf
    _silence(logit_TM, client, wanted)
    logit_TM.scatter_(1, target_T1, own_T1)
    peak_T1 = logit_TM.amax(1, keepdim=True)
    total_T1 = logit_TM.sub_(peak_T1).exp_().sum(1, keepdim=True)
    logit_TM /= total_T1
    logit_TM.scatter_add_(1, target_T1, logit_TM.new_full(target_T1.shape, -1.0))
    return (total_T1.log() - (own_T1 - peak_T1))[:, 0]


def _silence(logit_TM: Tensor, client: int, wanted: NextItems) -> None:
    """Take what the client has seen before each event's target out of the competition."""
    if wanted.seen:
        seen = wanted.seen[client]
        logit_TM.index_fill_(1, seen.always_K, -torch.inf)
        logit_TM.view(-1).index_fill_(0, seen.events_P * logit_TM.shape[1] + seen.rows_P, -torch.inf)


def _empty(query_BLd: Tensor, table_BMd: Tensor) -> tuple[LossAndGradients, Tensor, Tensor]:
    """Return room for the results, and its two tables once more."""
    batch, rows = table_BMd.shape[:2]
    table, bias = query_BLd.new_empty(batch, rows, query_BLd.shape[-1]), query_BLd.new_empty(batch, rows)
    losses = query_BLd.new_zeros(query_BLd.shape[:2])
    return LossAndGradients(losses, torch.zeros_like(query_BLd), table, bias), table, bias
