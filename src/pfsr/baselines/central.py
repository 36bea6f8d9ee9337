"""Central training: the gradient of pooled histories, what federation is measured against.

A minibatch of people counts as one client that has all their events: one set of weights, one mean loss,
no private parameters, no limit on movements. It is handed back as the movement of one local step, so that
``run_round`` turns it into the gradient of the mean loss, and FedAdam becomes ordinary minibatch Adam.
Histories and dropout are drawn as in federated training: with one local step and all personalization off,
both are the same computation.

Shapes: B people, L events, T events of them all, M rows of the item table in use, d = d_model.
"""

import math
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from pfsr.config import Config
from pfsr.federated.aggregate import PartialSum, add, partial_sum
from pfsr.federated.batch import ClientBatch, client_batch
from pfsr.federated.learning import dropout_masks, next_item_loss
from pfsr.federated.seeds import derive
from pfsr.federated.seen import seen_items
from pfsr.federated.update import Updates
from pfsr.federated.view import Broadcast, Movement, View, receive
from pfsr.model.encoder import ITEMS, embed, encode
from pfsr.model.objective import LossAndGradients, NextItems, Seen
from pfsr.model.thin import write_out
from pfsr.simulation.simulator import Population, available_cores, core_pool

GROUP = 32
"""People encoded at once."""

LOGITS = 1 << 20
"""Logits computed at once: 4 MB, which stay in cache."""

EVENTS = 128
"""Events whose logits are computed at once, at least: the item table is walked once for them all."""


class Pooled:
    """Learns from the pooled histories of a :class:`Population`; a ``Trainer`` for ``run_round``.

    It stands where the ``Simulator`` stands; its result does not depend on the number of threads either.

    Args:
        population: who there is; their private parameters are neither read nor written.
        config: the run's configuration.
        threads: groups of people worked on at the same time; by default one per core.
    """

    def __init__(self, population: Population, config: Config, threads: int | None = None) -> None:
        self.population = population
        self.config = config
        self.threads = threads or available_cores()

    def __call__(self, broadcast: Broadcast, people: np.ndarray) -> PartialSum:
        """Return the step down the mean loss over all events of ``people``."""
        with core_pool(self.threads) as pool:
            return add(list(pool.map(lambda group: self._step(broadcast, group), self._groups(people))))

    def adapt(self, broadcast: Broadcast, people: np.ndarray) -> None:
        """Do nothing: nobody has anything private to adapt."""

    def _groups(self, people: np.ndarray) -> Iterator[np.ndarray]:
        """Cut the minibatch into groups of like length, so that little is padded."""
        lengths = np.minimum(self.population.train_ends[people], self.config.federated.window + 1)
        ordered = people[np.argsort(-lengths, kind="stable")]
        return (ordered[start : start + GROUP] for start in range(0, len(ordered), GROUP))

    def _step(self, broadcast: Broadcast, people: np.ndarray) -> PartialSum:
        ends = self.population.train_ends
        histories = [self.population.sequences.history(int(p), int(ends[p])) for p in people]
        seeds = [derive(self.config.seed, "train", broadcast.version, int(p)) for p in people]
        return pooled_step(
            broadcast, client_batch(histories, seeds, self.config.federated.window), self.config
        )


def pooled_step(broadcast: Broadcast, batch: ClientBatch, config: Config) -> PartialSum:
    """Return a step of ``federated.local_rate`` down the mean loss over all events of ``batch``."""
    people, rate = len(batch.lengths), config.federated.local_rate
    gradient, view, loss = _gradient(broadcast, batch, config)
    updates = Updates(
        {name: grad * -rate for name, grad in gradient.weights.items()},
        write_out(gradient.table_BMd) * -rate,
        write_out(gradient.bias_BM) * -rate,
        view.rows_BM,
        torch.tensor([float(sum(batch.lengths))]),
        loss[None],
        torch.zeros(1, len(broadcast.spread_G)),
        torch.full((1, len(broadcast.weights)), float(people)),
    )
    return partial_sum(updates, broadcast.weights)._replace(clients=people)


def _gradient(broadcast: Broadcast, batch: ClientBatch, config: Config) -> tuple[Movement, View, Tensor]:
    """Return the gradient of the mean loss over all events, that of one client, its view, and that loss."""
    real_BL = batch.items_BL > 0
    view = receive(broadcast, _as_one_client(batch, real_BL))
    leaves = {name: broadcast.weights[name].detach().requires_grad_() for name in view.weights}
    x_BLd = embed(broadcast.weights[ITEMS], batch.items_BL).requires_grad_()
    masks = dropout_masks(batch, config.model, step=0)
    query_Td = encode(leaves, x_BLd, real_BL, config.model, masks)[real_BL]
    seen = _pooled(seen_items(batch, view), batch.lengths) if config.objective.seen == "left_out" else None
    loss = _mean_loss(view, query_Td.detach()[None], seen)
    *grads, x_grad_BLd = torch.autograd.grad(query_Td, [*leaves.values(), x_BLd], loss.query_BLd[0])
    inputs_Td = x_grad_BLd[real_BL] * math.sqrt(config.model.d_model)
    write_out(loss.table_BMd)[0].index_add_(0, view.items_BL[0], inputs_Td)
    weights = {name: grad[None] for name, grad in zip(leaves, grads, strict=True)}
    return Movement(weights, loss.table_BMd, loss.bias_BM), view, loss.loss_BL.mean()


def _as_one_client(batch: ClientBatch, real_BL: Tensor) -> ClientBatch:
    items_1T, targets_1T = batch.items_BL[real_BL][None], batch.targets_BL[real_BL][None]
    return ClientBatch(items_1T, targets_1T, [items_1T.shape[1]], batch.events_B.sum()[None], [], [])


def _pooled(seen: list[Seen], lengths: list[int]) -> Seen:
    """Return everybody's pairs as those of one client, whose events are theirs one after the other."""
    events, rows = [], []
    for pairs, length, start in zip(seen, lengths, np.cumsum([0, *lengths]).tolist(), strict=False):
        always = torch.cartesian_prod(torch.arange(length), pairs.always_K)
        events += [pairs.events_P + start, always[:, 0] + start]
        rows += [pairs.rows_P, always[:, 1]]
    events_P, order_P = torch.cat(events).sort()
    return Seen(torch.zeros(0, dtype=torch.int64), events_P, torch.cat(rows)[order_P])


def _mean_loss(view: View, query_1Td: Tensor, seen: Seen | None) -> LossAndGradients:
    """Return every event's loss, and the gradients of the mean loss, the one by the queries included."""
    events = query_1Td.shape[1]
    columns = view.negatives or view.table_BMd.shape[1]
    table_1Md, bias_1M = torch.zeros_like(view.table_BMd), torch.zeros_like(view.bias_BM)
    losses, queries = [], []
    for places in torch.arange(events).split(max(EVENTS, LOGITS // columns)):
        wanted = NextItems(view.targets_BL[:, places], [len(places)], _piece(seen, places))
        piece = next_item_loss(view, query_1Td[:, places], wanted)
        table_1Md.add_(write_out(piece.table_BMd), alpha=len(places) / events)
        bias_1M.add_(write_out(piece.bias_BM), alpha=len(places) / events)
        losses.append(piece.loss_BL)
        queries.append(piece.query_BLd / events)
    return LossAndGradients(torch.cat(losses, 1), torch.cat(queries, 1), table_1Md, bias_1M)


def _piece(seen: Seen | None, places: Tensor) -> list[Seen]:
    """Return the pairs of consecutive events, numbered from the first of them."""
    if seen is None:
        return []
    first, last = int(places[0]), int(places[-1])
    low, high = torch.searchsorted(seen.events_P, torch.tensor([first, last + 1])).tolist()
    return [Seen(seen.always_K, seen.events_P[low:high] - first, seen.rows_P[low:high])]
