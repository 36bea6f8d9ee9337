"""What one participation does on a person's data: the only code in PFSR that learns from a history.

    phase 1 (shared weights fixed):  e <- e - eta_p r F^-1 grad_e J        stays
    phase 2 (e fixed):               theta <- theta - eta_s grad_theta loss;  the movement leaves

It works on a batch of clients at once, each with its own view of the weights, so the simulator (many
clients), a gateway and a device (one client) run the same lines and get the same numbers.
Source: "Personalized Federated Sequential Recommender" (arXiv 2603.22349).

Shapes: B clients, S offsets, G site groups, T shared tensors.
"""

import torch
from torch import Tensor

from pfsr.config import Config
from pfsr.federated.batch import ClientBatch
from pfsr.federated.learning import mean_loss, run_pass, shared_gradients
from pfsr.federated.partition import Private
from pfsr.federated.personal import Lesson, personal_step
from pfsr.federated.update import Updates
from pfsr.federated.view import Broadcast, View, receive
from pfsr.model.amb import Weights
from pfsr.model.encoder import ITEM_BIAS, ITEMS
from pfsr.model.magnitude import offset_spread, project, spread_contribution
from pfsr.model.response import Sites


def local_update(
    broadcast: Broadcast, private: Private, batch: ClientBatch, config: Config, sites: Sites
) -> tuple[Updates, Private]:
    """Let every client of ``batch`` learn privately, then jointly.

    Args:
        broadcast: what the server sent.
        private: the clients' private parameters.
        batch: their training events.
        config: the run's configuration.
        sites: the layout of the offsets (see ``response_sites``).

    Returns:
        what leaves the devices, and the private parameters that stay.
    """
    view = receive(broadcast, batch)
    lesson = Lesson(view, batch, offset_spread(broadcast.spread_G, sites, config.objective), sites, config)
    private = learn_privately(lesson, private, config.response.steps)
    offsets = sites.split(private.offsets_BS) if config.response.mode != "off" else {}
    moved, loss_B = _shared_steps(view, offsets, batch, config)
    updates = Updates(
        moved.weights,
        moved.table_BMd,
        moved.bias_BM,
        view.rows_BM,
        torch.tensor(batch.lengths, dtype=torch.float32),
        loss_B,
        _spread(broadcast, private, batch, config, sites),
        torch.ones(len(loss_B), len(broadcast.weights)),
    )
    limited = _limit(updates, broadcast) if config.objective.magnitude == "dynamic" else updates
    return limited, private._replace(rounds_B=private.rounds_B + 1)


def adapt(
    broadcast: Broadcast, private: Private, batch: ClientBatch, config: Config, sites: Sites
) -> Private:
    """Phase 1 alone, under a finished model: what a person's device does once training has ended."""
    spread_S = offset_spread(broadcast.spread_G, sites, config.objective)
    lesson = Lesson(receive(broadcast, batch), batch, spread_S, sites, config)
    return learn_privately(lesson, private, config.response.adapt_steps)


def learn_privately(lesson: Lesson, private: Private, steps: int) -> Private:
    """Phase 1: move the offsets ``steps`` times; the shared weights stay as they are."""
    if lesson.config.response.mode == "off":
        return private
    for step in range(steps):
        private = personal_step(lesson, private, f"private {step}")
    return private


def _shared_steps(view: View, offsets: Weights, batch: ClientBatch, config: Config) -> tuple[View, Tensor]:
    """Phase 2: return how far the shared weights moved in the clients' hands, and the loss before."""
    rate, moved, first_loss_B = config.federated.local_rate, None, None
    for step in range(config.federated.local_steps):
        here = view if moved is None else _plus(view, moved, 1.0)
        done = run_pass(here, offsets, batch, config, f"shared {step}")
        first_loss_B = mean_loss(done, batch) if first_loss_B is None else first_loss_B
        gradient = shared_gradients(done, here, batch)
        moved = _scaled(gradient, -rate) if moved is None else _plus(moved, gradient, -rate)
    assert moved is not None and first_loss_B is not None
    return moved, first_loss_B


def _scaled(view: View, factor: float) -> View:
    weights = {name: value * factor for name, value in view.weights.items()}
    return view._replace(
        weights=weights, table_BMd=view.table_BMd.mul_(factor), bias_BM=view.bias_BM.mul_(factor)
    )


def _plus(view: View, other: View, factor: float) -> View:
    weights = {
        name: torch.add(value, other.weights[name], alpha=factor) for name, value in view.weights.items()
    }
    table = torch.add(view.table_BMd, other.table_BMd, alpha=factor)
    return view._replace(
        weights=weights, table_BMd=table, bias_BM=torch.add(view.bias_BM, other.bias_BM, alpha=factor)
    )


def _spread(
    broadcast: Broadcast, private: Private, batch: ClientBatch, config: Config, sites: Sites
) -> Tensor:
    if config.response.mode == "off":
        return torch.zeros(len(batch.lengths), len(sites.names))
    spread_S = offset_spread(broadcast.spread_G, sites, config.objective)
    return spread_contribution(private.offsets_BS, private.fisher_BS, batch.events_B, spread_S, sites)


def _limit(updates: Updates, broadcast: Broadcast) -> Updates:
    """Project every movement to its limit; note which were under it."""
    within = []
    for (name, weight), limit in zip(broadcast.weights.items(), broadcast.limits_T, strict=True):
        tables = {ITEMS: updates.table_BMd, ITEM_BIAS: updates.bias_BM}
        delta = tables[name] if name in tables else updates.deltas[name]
        within.append(project(delta, weight, limit)[1])
    return updates._replace(within_BT=torch.stack(within, 1))
