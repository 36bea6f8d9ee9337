"""One pass over clients' data: queries, losses, and the gradients that either phase needs.

Shapes: B clients, L events, d = d_model, M rows of the local item table, S offsets.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from pfsr.config import Config, ModelConfig
from pfsr.federated.batch import ClientBatch
from pfsr.federated.seeds import derive
from pfsr.federated.seen import seen_items
from pfsr.federated.view import Movement, View
from pfsr.model.amb import Weights
from pfsr.model.encoder import encode
from pfsr.model.encoders.layers import layer_count
from pfsr.model.objective import (
    LossAndGradients,
    NextItems,
    full_cross_entropy,
    sampled_cross_entropy,
    thin_cross_entropy,
)
from pfsr.model.response import Sites, respond
from pfsr.model.thin import Moved, Thin


class Pass(NamedTuple):
    """A forward pass that gradients can still be asked of.

    Attributes:
        query_BLd: attached to the graph.
        loss: values, and gradients with respect to queries and item table.
        x_BLd: the leaf of embedded events.
        weights: leaves, one view per client.
        offsets: leaves, per site; empty without a Variable Response Mechanism.
    """

    query_BLd: Tensor
    loss: LossAndGradients
    x_BLd: Tensor
    weights: Weights
    offsets: Weights


def run_pass(
    view: View, offsets: Weights, batch: ClientBatch, config: Config, step: int | None, thin: bool = False
) -> Pass:
    """Encode the batch and compute its losses, with the dropout of local step ``step`` (None: without).

    ``thin``: all clients still share one item table, and their gradients of it need not be written out.
    """
    weights, leaf_offsets = _leaves(view.weights), _leaves(offsets)
    clients = torch.arange(len(batch.lengths))[:, None]
    x_BLd = (view.table_BMd[clients, view.items_BL] * math.sqrt(view.table_BMd.shape[-1])).requires_grad_()
    personal = respond(weights, leaf_offsets) if offsets else weights
    masks = () if step is None else dropout_masks(batch, config.model, step)
    query_BLd = encode(personal, x_BLd, batch.items_BL > 0, config.model, masks)
    loss = _loss(view, query_BLd.detach(), batch, config, thin)
    return Pass(query_BLd, loss, x_BLd, weights, leaf_offsets)


def dropout_masks(batch: ClientBatch, config: ModelConfig, step: int) -> Sequence[Tensor]:
    """Return masks [B, L, d] for the input and every layer; a client's do not depend on who else is there."""
    if not config.silenced and not config.event_dropout:
        return ()
    keep, keep_event, sites = 1 - config.silenced, 1 - config.event_dropout, layer_count(config) + 1
    masks = torch.zeros(sites, *batch.items_BL.shape, config.d_model)
    for row, (seed, length) in enumerate(zip(batch.seeds, batch.lengths, strict=True)):
        channels = _uniform(derive(seed, "dropout", step), sites * length * config.d_model)
        masks[:, row, :length] = channels.lt(keep).view(sites, length, -1) / keep
        events = _uniform(derive(seed, "event dropout", step), length)
        masks[0, row, :length] *= events.lt(keep_event)[:, None] / keep_event
    return masks.unbind()


def next_item_loss(view: View, query_BLd: Tensor, wanted: NextItems) -> LossAndGradients:
    """Return the loss that the view was made for: over the whole catalogue, or over sampled negatives."""
    common = query_BLd, view.table_BMd, view.bias_BM, wanted
    if view.rows_BM is None:
        return full_cross_entropy(*common)
    return sampled_cross_entropy(*common, view.negatives, view.catalogue)


def mean_loss(done: Pass, batch: ClientBatch) -> Tensor:
    """Return each client's mean loss, [B]."""
    return done.loss.loss_BL.sum(1) / _lengths(batch)


class Gradients(NamedTuple):
    """Each client's gradients of its mean loss.

    Attributes:
        shared: of what is shared.
        offsets_BS: in the order of the sites; None without a Variable Response Mechanism.
    """

    shared: Movement
    offsets_BS: Tensor | None


def gradients(done: Pass, view: View, batch: ClientBatch) -> Gradients:
    """Return what both phases need, from one backward pass; the graph stays for :func:`fisher_probe`."""
    leaves = [*done.weights.values(), *done.offsets.values(), done.x_BLd]
    query_BLd = _mean_query_gradient(done, batch)
    *grads, x_BLd = torch.autograd.grad(done.query_BLd, leaves, query_BLd, retain_graph=bool(done.offsets))
    weights = dict(zip(done.weights, grads, strict=False))
    offsets_BS = torch.cat(grads[len(weights) :], -1) if done.offsets else None
    table_BMd = _add_inputs(done.loss.table_BMd, x_BLd, view, batch)
    return Gradients(Movement(weights, table_BMd, done.loss.bias_BM), offsets_BS)


def offset_gradients(done: Pass, batch: ClientBatch) -> Tensor:
    """Return the gradient of each client's mean loss with respect to its offsets, [B, S]; keeps the graph."""
    leaves, query_BLd = list(done.offsets.values()), _mean_query_gradient(done, batch)
    return torch.cat(torch.autograd.grad(done.query_BLd, leaves, query_BLd, retain_graph=True), -1)


def fisher_probe(done: Pass, batch: ClientBatch, sites: Sites) -> Tensor:
    """Estimate the Fisher information of the offsets, per event [B, S], with one more backward pass.

    With a random sign s_t per event, E (sum_t s_t g_t)^2 = sum_t g_t^2, the sum of squared per-event
    gradients. One draw is noisy, so half of each estimate is its site's mean. Ends the graph.
    """
    signs = torch.ones(done.loss.loss_BL.shape)
    for row, (seed, length) in enumerate(zip(batch.seeds, batch.lengths, strict=True)):
        signs[row, :length] = _uniform(derive(seed, "probe"), length).lt(0.5) * 2.0 - 1.0
    probed = done.loss.query_BLd * signs[..., None]
    grads = torch.autograd.grad(done.query_BLd, list(done.offsets.values()), probed)
    squares_BS = torch.cat(grads, -1) ** 2 / _lengths(batch)[:, None]
    means_BS = sites.spread(sites.group_means(squares_BS))
    return (squares_BS + means_BS) / 2


def _loss(view: View, query_BLd: Tensor, batch: ClientBatch, config: Config, thin: bool) -> LossAndGradients:
    seen = seen_items(batch, view) if config.objective.seen == "left_out" else ()
    wanted = NextItems(view.targets_BL, batch.lengths, seen)
    if thin and view.rows_BM is None:
        return thin_cross_entropy(query_BLd, view.table_BMd[0], view.bias_BM[0], wanted)
    return next_item_loss(view, query_BLd, wanted)


def _add_inputs(table_BMd: Moved, x_grad_BLd: Tensor, view: View, batch: ClientBatch) -> Moved:
    """Add what the item table gets as an input to what it got as an output."""
    real_BL = batch.items_BL > 0
    grads_Nd = x_grad_BLd[real_BL] * math.sqrt(x_grad_BLd.shape[-1])
    if isinstance(table_BMd, Thin):
        return table_BMd._replace(rows_N=view.items_BL[real_BL], own_NK=grads_Nd)
    first_row_B1 = torch.arange(len(batch.lengths))[:, None] * table_BMd.shape[1]
    table_BMd.flatten(0, 1).index_add_(0, (first_row_B1 + view.items_BL)[real_BL], grads_Nd)
    return table_BMd


def _mean_query_gradient(done: Pass, batch: ClientBatch) -> Tensor:
    return done.loss.query_BLd / _lengths(batch)[:, None, None]


def _uniform(seed: int, count: int) -> Tensor:
    return torch.rand(count, generator=torch.Generator().manual_seed(seed))


def _lengths(batch: ClientBatch) -> Tensor:
    return torch.tensor(batch.lengths, dtype=torch.float32)


def _leaves(tensors: Weights) -> Weights:
    return {name: value.detach().requires_grad_() for name, value in tensors.items()}
