"""Phase 1: one private step. How far an offset moves is set by how much the person's own data says about it.

    F <- running mean of the Fisher information per event
    r  = T F / (T F + 1 / tau^2)                    response strength, in [0, 1)
    e <- e - eta_p r F^-1 grad_e J                  J: mean loss plus the pull of the Dynamic Magnitude Loss

r F^-1 = T / (T F + 1 / tau^2) is the posterior variance times T: a damped natural-gradient step, so eta_p
is a share of the way to the most probable offsets and needs no tuning to the scale of a site.
Source: "Personalized Federated Sequential Recommender" (arXiv 2603.22349), Variable Response Mechanism.

Shapes: B clients, S offsets.
"""

import torch
from torch import Tensor

from pfsr.config import Config
from pfsr.federated.batch import ClientBatch
from pfsr.federated.learning import fisher_probe, offset_gradients, run_pass
from pfsr.federated.partition import Private
from pfsr.federated.view import View
from pfsr.model.magnitude import pull
from pfsr.model.response import Sites, posterior_variance, response_strength

FISHER_MEMORY = 0.8
"""Share of the running Fisher mean that stays when a new estimate comes in."""


def personal_step(
    view: View,
    private: Private,
    batch: ClientBatch,
    spread_S: Tensor,
    config: Config,
    sites: Sites,
    step: str,
) -> Private:
    """Return the private parameters after one step on the clients' own data; ``step`` names it, for its seeds."""
    done = run_pass(view, sites.split(private.offsets_BS), batch, config, step)
    gradient_BS = offset_gradients(done, batch) + pull(private.offsets_BS, batch.events_B, spread_S)
    fisher_BS = _running_fisher(private, fisher_probe(done, batch, sites, step))
    offsets_BS = _move(private.offsets_BS, gradient_BS, fisher_BS, batch.events_B, spread_S, config)
    return private._replace(offsets_BS=offsets_BS, fisher_BS=fisher_BS)


def _running_fisher(private: Private, probe_BS: Tensor) -> Tensor:
    known_B1 = (private.fisher_BS != 0).any(1, keepdim=True)
    return torch.where(known_B1, torch.lerp(probe_BS, private.fisher_BS, FISHER_MEMORY), probe_BS)


def _move(
    offsets_BS: Tensor,
    gradient_BS: Tensor,
    fisher_BS: Tensor,
    events_B: Tensor,
    spread_S: Tensor,
    config: Config,
) -> Tensor:
    events_B1 = events_B[:, None]
    step_BS = events_B1 * posterior_variance(events_B, fisher_BS, spread_S)
    moved_BS = offsets_BS - config.response.rate * step_BS * gradient_BS
    if config.response.mode == "soft":
        return moved_BS
    strength_BS = response_strength(events_B, fisher_BS, spread_S)
    return torch.where(strength_BS > config.response.threshold, moved_BS, 0.0)
