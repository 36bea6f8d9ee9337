"""One private step. How far an offset moves is set by how much the person's own data says about it.

    F <- running mean of the Fisher information per event
    r  = T F / (T F + 1 / tau^2)                    response strength, in [0, 1)
    e <- e - eta_p r F^-1 grad_e J                  J: mean loss plus the pull of the Dynamic Magnitude Loss

r F^-1 = T / (T F + 1 / tau^2) is the posterior variance times T: a damped natural-gradient step, so eta_p
is a share of the way to the most probable offsets and needs no tuning to the scale of a site. The mode
``plain`` is the rivals' step, without F: e <- e - eta_p grad_e J.
Source: "Personalized Federated Sequential Recommender" (arXiv 2603.22349), Variable Response Mechanism.

Shapes: B clients, S offsets.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from pfsr.config import Config, ResponseConfig
from pfsr.federated.batch import ClientBatch
from pfsr.federated.learning import Pass, fisher_probe
from pfsr.federated.partition import Private
from pfsr.federated.view import Broadcast
from pfsr.model.magnitude import offset_spread, pull
from pfsr.model.response import Sites, posterior_variance, response_strength

FISHER_MEMORY = 0.8
"""Share of the running Fisher mean that stays when a new estimate comes in."""


class Prior(NamedTuple):
    """What the offsets are pulled towards zero with, and when the Fisher information is looked at again.

    Attributes:
        spread_S: tau^2 of every offset.
        sites: the layout of the offsets.
        refresh: whether this participation re-estimates known Fisher information.
    """

    spread_S: Tensor
    sites: Sites
    refresh: bool


def prior(broadcast: Broadcast, config: Config, sites: Sites) -> Prior:
    """Return the prior under which clients learn in this round."""
    spread_S = offset_spread(broadcast.spread_G, sites, config.objective)
    return Prior(spread_S, sites, broadcast.version % config.response.fisher_every == 0)


def personal_step(
    done: Pass,
    gradient_BS: Tensor,
    private: Private,
    batch: ClientBatch,
    prior: Prior,
    response: ResponseConfig,
) -> Private:
    """Return the private parameters after one step.

    Args:
        done: the pass that ``gradient_BS`` was taken from, its graph still there.
        gradient_BS: of each client's mean loss.
        private: before the step.
        batch: the clients' own events.
        prior: what pulls the offsets.
        response: the configuration of the Variable Response Mechanism.
    """
    full_BS = gradient_BS + pull(private.offsets_BS, batch.events_B, prior.spread_S)
    if response.mode == "plain":
        return private._replace(offsets_BS=private.offsets_BS - response.rate * full_BS)
    due_B = (private.fisher_BS == 0).all(1) | prior.refresh
    if bool(due_B.any()):
        probe_BS = fisher_probe(done, batch, prior.sites)
        private = private._replace(fisher_BS=_running_fisher(private.fisher_BS, probe_BS, due_B))
    return private._replace(offsets_BS=_moved(private, full_BS, batch.events_B, prior.spread_S, response))


def _running_fisher(known_BS: Tensor, probe_BS: Tensor, due_B: Tensor) -> Tensor:
    is_known_B1 = (known_BS != 0).any(1, keepdim=True)
    mean_BS = torch.where(is_known_B1, torch.lerp(probe_BS, known_BS, FISHER_MEMORY), probe_BS)
    return torch.where(due_B[:, None], mean_BS, known_BS)


def _moved(
    private: Private, gradient_BS: Tensor, events_B: Tensor, spread_S: Tensor, response: ResponseConfig
) -> Tensor:
    step_BS = events_B[:, None] * posterior_variance(events_B, private.fisher_BS, spread_S)
    moved_BS = private.offsets_BS - response.rate * step_BS * gradient_BS
    if response.mode == "soft":
        return moved_BS
    strength_BS = response_strength(events_B, private.fisher_BS, spread_S)
    return torch.where(strength_BS > response.threshold, moved_BS, 0.0)
