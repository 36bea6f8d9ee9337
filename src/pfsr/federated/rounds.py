"""One round, written out in order. Everything it needs is in its arguments; everything it leaves is returned.

    1. draw the cohort; some of it never answers
    2. broadcast the shared weights, tau^2, the limits c and the model version
    3. every client learns on its own data: phase 1 privately, phase 2 jointly (``client.local_update``)
    4. add up what leaves the devices, weighted by events
    5. average into one pseudo-gradient
    6. the server optimizer moves the shared model
    7. tau^2 and c follow what was seen (Dynamic Magnitude Loss)

Who runs step 3 (the simulator, a fleet of devices) is passed in.
Source: "Personalized Federated Sequential Recommender" (arXiv 2603.22349).
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from pfsr.config import Config
from pfsr.federated.aggregate import PartialSum, pseudo_gradient
from pfsr.federated.cohort import sample_cohort, who_answers
from pfsr.federated.download import as_read, download_bytes
from pfsr.federated.seeds import derive
from pfsr.federated.server import Moments, empty_moments, server_step
from pfsr.federated.update import wire_bytes
from pfsr.federated.view import Broadcast
from pfsr.model.amb import Weights
from pfsr.model.encoder import ITEMS, init_weights
from pfsr.model.magnitude import FIRST_LIMIT, next_limits, next_spread
from pfsr.model.response import response_sites

Trainer = Callable[[Broadcast, np.ndarray], PartialSum]
"""Lets the clients (rows of people) learn under a broadcast, and adds up what leaves their devices."""


class ServerState(NamedTuple):
    """All that the server keeps between rounds; with it any round can be replayed.

    Attributes:
        weights: the shared model.
        moments: of the server optimizer.
        spread_G: tau^2 per site group.
        limits_T: c per shared tensor.
        round: rounds done, which is also the version of ``weights``.
    """

    weights: Weights
    moments: Moments
    spread_G: Tensor
    limits_T: Tensor
    round: int


class RoundReport(NamedTuple):
    """What a round did: its number (from 1), mean loss per event (None: nobody answered), bytes of all."""

    round: int
    loss: float | None
    clients: int
    silent: int
    events: int
    bytes_up: int
    bytes_down: int


def first_state(config: Config, items: int) -> ServerState:
    """Return the state before the first round, for a catalogue of ``items`` items."""
    weights = init_weights(config.model, items, derive(config.seed, "weights"))
    groups = len(response_sites(config.model).names)
    spread = torch.full((groups,), config.objective.spread)
    limits = torch.full((len(weights),), FIRST_LIMIT)
    return ServerState(weights, empty_moments(weights), spread, limits, 0)


def run_round(
    state: ServerState, clients: np.ndarray, train: Trainer, config: Config
) -> tuple[ServerState, RoundReport]:
    """Run one round over ``clients`` (rows of people who may take part).

    Raises:
        PfsrError: an update is not finite, or a weight too large to send; ``state`` is still good.
    """
    federated = config.federated
    cohort = sample_cohort(clients, federated, config.seed, state.round)
    answering = who_answers(cohort, federated.unavailable, config.seed, state.round)
    if not len(answering):
        return state._replace(round=state.round + 1), _nobody(state, cohort, config)
    total = train(make_broadcast(state, config), answering)
    gradient = pseudo_gradient(total, federated.local_rate)
    weights, moments = server_step(state.weights, state.moments, gradient, federated, state.round)
    spread, limits = _follow(state, total, config)
    return ServerState(weights, moments, spread, limits, state.round + 1), _report(
        state, cohort, total, config
    )


def make_broadcast(state: ServerState, config: Config) -> Broadcast:
    """Return what the clients of the coming round receive.

    Raises:
        PfsrError: a weight is too large for half precision.
    """
    items = len(state.weights[ITEMS]) - 1
    negatives = None
    if uses_sampled_loss(config, items):
        random = np.random.default_rng(derive(config.seed, "negatives", state.round))
        drawn = random.choice(items, config.objective.negatives, replace=False, shuffle=False) + 1
        negatives = torch.from_numpy(drawn)
    weights = as_read(state.weights, config.federated.download_bits)
    return Broadcast(weights, state.spread_G, state.limits_T, state.round, negatives)


def uses_sampled_loss(config: Config, items: int) -> bool:
    """Tell whether this catalogue is large enough to train against sampled negatives."""
    objective = config.objective
    if objective.loss == "auto":
        return items > max(objective.full_limit, objective.negatives)
    return objective.loss == "sampled" and items > objective.negatives


def _follow(state: ServerState, total: PartialSum, config: Config) -> tuple[Tensor, Tensor]:
    if config.objective.magnitude != "dynamic":
        return state.spread_G, state.limits_T
    limits = next_limits(state.limits_T, total.within_T / total.clients, config.objective.clip_quantile)
    if config.response.mode == "off":
        return state.spread_G, limits
    return next_spread(state.spread_G, total.spread_G / total.clients), limits


def _nobody(state: ServerState, cohort: np.ndarray, config: Config) -> RoundReport:
    return RoundReport(
        state.round + 1, None, 0, len(cohort), 0, 0, len(cohort) * _broadcast_bytes(state, config)
    )


def _report(state: ServerState, cohort: np.ndarray, total: PartialSum, config: Config) -> RoundReport:
    return RoundReport(
        state.round + 1,
        float(total.loss / total.weight),
        total.clients,
        len(cohort) - total.clients,
        int(total.weight),
        total.clients * _update_bytes(state, config),
        len(cohort) * _broadcast_bytes(state, config),
    )


def _update_bytes(state: ServerState, config: Config) -> int:
    """Nothing is sent when histories are pooled (they were sent once, before)."""
    if config.training == "central":
        return 0
    return wire_bytes(state.weights, len(state.spread_G), config.federated.upload_bits)


def _broadcast_bytes(state: ServerState, config: Config) -> int:
    """Weights as they travel, tau^2 and limits as float32, version and seed of the negatives in 64 bits."""
    if config.training == "central":
        return 0
    rest = 4 * (len(state.spread_G) + len(state.limits_T)) + 16
    return download_bytes(state.weights, config.federated.download_bits) + rest
