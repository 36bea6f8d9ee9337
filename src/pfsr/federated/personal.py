"""Phase 1: one private step. How far an offset moves is set by how much the person's own data says about it.

    F <- running mean of the Fisher information per event
    r  = T F / (T F + 1 / tau^2)                    response strength, in [0, 1)
    e <- e - eta_p r F^-1 grad_e J                  J: mean loss plus the pull of the Dynamic Magnitude Loss

r F^-1 = T / (T F + 1 / tau^2) is the posterior variance times T: a damped natural-gradient step, so eta_p
is a share of the way to the most probable offsets and needs no tuning to the scale of a site.
Source: "Personalized Federated Sequential Recommender" (arXiv 2603.22349), Variable Response Mechanism.

Shapes: B clients, S offsets.
"""

from typing import NamedTuple

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


class Lesson(NamedTuple):
    """What clients learn from privately.

    Attributes:
        view: the shared weights, which stay as they are.
        batch: the clients' own events.
        spread_S: tau^2 of every offset.
        sites: the layout of the offsets.
        config: the run's configuration.
    """

    view: View
    batch: ClientBatch
    spread_S: Tensor
    sites: Sites
    config: Config


def personal_step(lesson: Lesson, private: Private, step: str) -> Private:
    """Return the private parameters after one step; ``step`` names it, for its random choices."""
    batch, events_B = lesson.batch, lesson.batch.events_B
    done = run_pass(lesson.view, lesson.sites.split(private.offsets_BS), batch, lesson.config, step)
    gradient_BS = offset_gradients(done, batch) + pull(private.offsets_BS, events_B, lesson.spread_S)
    fisher_BS = _running_fisher(private, fisher_probe(done, batch, lesson.sites, step))
    offsets_BS = _move(lesson, private.offsets_BS, gradient_BS, fisher_BS)
    return private._replace(offsets_BS=offsets_BS, fisher_BS=fisher_BS)


def _running_fisher(private: Private, probe_BS: Tensor) -> Tensor:
    known_B1 = (private.fisher_BS != 0).any(1, keepdim=True)
    return torch.where(known_B1, torch.lerp(probe_BS, private.fisher_BS, FISHER_MEMORY), probe_BS)


def _move(lesson: Lesson, offsets_BS: Tensor, gradient_BS: Tensor, fisher_BS: Tensor) -> Tensor:
    events_B, response = lesson.batch.events_B, lesson.config.response
    step_BS = events_B[:, None] * posterior_variance(events_B, fisher_BS, lesson.spread_S)
    moved_BS = offsets_BS - response.rate * step_BS * gradient_BS
    if response.mode == "soft":
        return moved_BS
    strength_BS = response_strength(events_B, fisher_BS, lesson.spread_S)
    return torch.where(strength_BS > response.threshold, moved_BS, 0.0)
