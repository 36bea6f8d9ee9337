"""What one participation does on a person's data: the only code in PFSR that learns from a history.

    theta (shared), e (private), both from one pass over the data:
    phase 1:  e <- e - eta_p r F^-1 grad_e J          stays
    phase 2:  theta <- theta - eta_s grad_theta loss;  the movement leaves

It works on a batch of clients at once, each with its own view of the weights, so the simulator (many
clients), a gateway and a device (one client) run the same lines and get the same numbers.
Source: "Personalized Federated Sequential Recommender" (arXiv 2603.22349).

Shapes: B clients, S offsets, G site groups, T shared tensors.
"""

from collections.abc import Iterator
from itertools import islice

import torch
from torch import Tensor

from pfsr.config import Config
from pfsr.federated.batch import ClientBatch
from pfsr.federated.learning import gradients, mean_loss, offset_gradients, run_pass
from pfsr.federated.partition import Private
from pfsr.federated.personal import Prior, personal_step, prior
from pfsr.federated.update import Updates, compress
from pfsr.federated.view import Broadcast, Movement, View, receive
from pfsr.model.encoder import ITEM_BIAS, ITEMS
from pfsr.model.magnitude import project, spread_contribution
from pfsr.model.response import Sites
from pfsr.model.thin import Moved, scale, write_out


def local_update(
    broadcast: Broadcast, private: Private, batch: ClientBatch, config: Config, sites: Sites
) -> tuple[Updates, Private]:
    """Let every client of ``batch`` take part in a round.

    Args:
        broadcast: what the server sent.
        private: the clients' private parameters.
        batch: their training events.
        config: the run's configuration.
        sites: the layout of the offsets (see ``response_sites``).

    Returns:
        what leaves the devices, as the server reads it, and the private parameters that stay.
    """
    pulled = prior(broadcast, config, sites)
    view = receive(broadcast, batch)
    moved, private, loss_B = _learn(view, private, batch, config, pulled)
    updates = Updates(
        *moved,
        view.rows_BM,
        torch.tensor(batch.lengths, dtype=torch.float32),
        loss_B,
        _spread(private, batch, config, pulled),
        torch.ones(len(loss_B), len(broadcast.weights)),
    )
    limited = _limit(updates, broadcast) if config.objective.magnitude == "dynamic" else updates
    sent = compress(limited, broadcast.weights, batch.seeds, config.federated.upload_bits)
    return sent, private._replace(rounds_B=private.rounds_B + 1)


def adapt(
    broadcast: Broadcast, private: Private, batch: ClientBatch, config: Config, sites: Sites
) -> Private:
    """Learn privately under a finished model: what a person's device does once training has ended."""
    if config.response.mode == "off":
        return private
    for stepped in islice(
        private_steps(broadcast, private, batch, config, sites), config.response.adapt_steps
    ):
        private = stepped
    return private


def private_steps(
    broadcast: Broadcast, private: Private, batch: ClientBatch, config: Config, sites: Sites
) -> Iterator[Private]:
    """Yield the private parameters after each private step under a finished model, for as long as asked."""
    view, pulled = receive(broadcast, batch), prior(broadcast, config, sites)._replace(refresh=True)
    thin = _stays_thin(batch, config)
    while True:
        done = run_pass(view, sites.split(private.offsets_BS), batch, config, None, thin)
        gradient_BS = offset_gradients(done, batch)
        private = personal_step(done, gradient_BS, private, batch, pulled, config.response)
        pulled = pulled._replace(refresh=False)
        yield private


def private_loss(
    broadcast: Broadcast, private: Private, batch: ClientBatch, config: Config, sites: Sites
) -> Tensor:
    """Return each client's mean loss per event with its private parameters, without dropout, [B]."""
    offsets, thin = sites.split(private.offsets_BS), _stays_thin(batch, config)
    return mean_loss(run_pass(receive(broadcast, batch), offsets, batch, config, None, thin), batch)


def _learn(
    view: View, private: Private, batch: ClientBatch, config: Config, pulled: Prior
) -> tuple[Movement, Private, Tensor]:
    """Take the local steps; return how far the shared weights moved, what stays, and the loss before."""
    here, moved, losses, rate = view, None, [], config.federated.local_rate
    for step in range(config.federated.local_steps):
        private = _ahead(here, private, batch, config, pulled)
        offsets = pulled.sites.split(private.offsets_BS) if config.response.mode != "off" else {}
        done = run_pass(here, offsets, batch, config, step, _stays_thin(batch, config))
        found = gradients(done, here, batch)
        losses.append(mean_loss(done, batch))
        if found.offsets_BS is not None and not config.response.private_steps:
            private = personal_step(done, found.offsets_BS, private, batch, pulled, config.response)
            pulled = pulled._replace(refresh=False)
        if moved is None:
            moved = _times(found.shared, -rate)
        else:
            pull = config.federated.proximal
            uphill = _plus(found.shared, moved, pull) if pull else found.shared
            moved = _plus(moved, uphill, -rate)
        here = _moved(view, moved) if step + 1 < config.federated.local_steps else view
    assert moved is not None
    return moved, private, losses[0]


def _stays_thin(batch: ClientBatch, config: Config) -> bool:
    """Tell whether movements of the item table are smaller as factors, and never needed as anything else."""
    short = 2 * sum(batch.lengths) < config.model.d_model * len(batch.lengths)
    return short and config.federated.local_steps == 1 and config.federated.upload_bits == 32


def _ahead(view: View, private: Private, batch: ClientBatch, config: Config, pulled: Prior) -> Private:
    """Take the private steps that come before a shared one: FedRep, arXiv 2102.07078."""
    for step in range(config.response.private_steps):
        done = run_pass(view, pulled.sites.split(private.offsets_BS), batch, config, step)
        gradient_BS = offset_gradients(done, batch)
        private = personal_step(done, gradient_BS, private, batch, pulled, config.response)
    return private


def _times(movement: Movement, factor: float) -> Movement:
    """Return ``factor`` x ``movement``; what is written out is changed in place."""
    weights = {name: value.mul_(factor) for name, value in movement.weights.items()}
    return Movement(weights, scale(movement.table_BMd, factor), scale(movement.bias_BM, factor))


def _plus(movement: Movement, other: Movement, factor: float) -> Movement:
    """Return ``movement`` + ``factor`` x ``other``, e.g. with the pull of FedProx, arXiv 1812.06127."""
    weights = {n: torch.add(value, other.weights[n], alpha=factor) for n, value in movement.weights.items()}
    table_BMd = torch.add(write_out(movement.table_BMd), write_out(other.table_BMd), alpha=factor)
    bias_BM = torch.add(write_out(movement.bias_BM), write_out(other.bias_BM), alpha=factor)
    return Movement(weights, table_BMd, bias_BM)


def _moved(view: View, movement: Movement) -> View:
    """Return the weights after a movement."""
    before = Movement(view.weights, view.table_BMd, view.bias_BM)
    after = _plus(before, movement, 1.0)
    return view._replace(weights=after.weights, table_BMd=after.table_BMd, bias_BM=after.bias_BM)


def _spread(private: Private, batch: ClientBatch, config: Config, pulled: Prior) -> Tensor:
    if config.response.mode == "off":
        return torch.zeros(len(batch.lengths), len(pulled.sites.names))
    return spread_contribution(
        private.offsets_BS, private.fisher_BS, batch.events_B, pulled.spread_S, pulled.sites
    )


def _limit(updates: Updates, broadcast: Broadcast) -> Updates:
    """Project every movement to its limit; note which were under it."""
    movements: dict[str, Moved] = {**updates.deltas, ITEMS: updates.table_BMd, ITEM_BIAS: updates.bias_BM}
    limits = dict(zip(broadcast.weights, broadcast.limits_T, strict=True))
    done = {
        name: project(movements[name], weight, limits[name]) for name, weight in broadcast.weights.items()
    }
    return updates._replace(
        deltas={name: done[name][0] for name in updates.deltas},
        table_BMd=done[ITEMS][0],
        bias_BM=done[ITEM_BIAS][0],
        within_BT=torch.stack([within_B for _, within_B in done.values()], 1),
    )
