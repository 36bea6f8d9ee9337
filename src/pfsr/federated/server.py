"""Server optimizers: how an average update moves the shared model.

The pseudo-gradient g is minus the weighted average of the clients' movements, per unit of local rate.
FedAvg: w <- w - eta g (a plain average of the clients' models: eta = local rate). FedAvgM: with momentum.
FedAdam, FedYogi: with per-coordinate scaling, bias-corrected.
Source: "Adaptive Federated Optimization" (arXiv 2003.00295), algorithm 2.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from pfsr.config import FederatedConfig
from pfsr.model.amb import Weights


class Moments(NamedTuple):
    """Running first and second moments of the pseudo-gradient, one tensor per shared tensor."""

    first: Weights
    second: Weights


def empty_moments(weights: Weights) -> Moments:
    """Return the moments of an optimizer that has not stepped yet."""
    return Moments(*({name: torch.zeros_like(w) for name, w in weights.items()} for _ in range(2)))


def server_rate(config: FederatedConfig, round_number: int) -> float:
    """Return the server's learning rate in a round: linear warm-up, then a cosine to its final share."""
    warm = min(1.0, (round_number + 1) / max(1, config.warmup))
    progress = round_number / config.rounds
    share = config.final_rate + (1 - config.final_rate) * 0.5 * (1 + math.cos(math.pi * progress))
    return config.server_rate * warm * share


def server_step(
    weights: Weights, moments: Moments, gradient: Weights, config: FederatedConfig, round_number: int
) -> tuple[Weights, Moments]:
    """Return the next shared model and moments; nothing is changed in place."""
    rate = server_rate(config, round_number)
    first = {name: _momentum(moments.first[name], g, config) for name, g in gradient.items()}
    second = {name: _second(moments.second[name], g, config) for name, g in gradient.items()}
    moved = {
        name: w - rate * _direction(first[name], second[name], config, round_number)
        for name, w in weights.items()
    }
    return moved, Moments(first, second)


def _momentum(first: Tensor, gradient: Tensor, config: FederatedConfig) -> Tensor:
    if config.server == "fedavg":
        return gradient
    if config.server == "fedavgm":
        return config.beta1 * first + gradient
    return torch.lerp(first, gradient, 1 - config.beta1)


def _second(second: Tensor, gradient: Tensor, config: FederatedConfig) -> Tensor:
    squared = gradient * gradient
    if config.server == "fedadam":
        return torch.lerp(second, squared, 1 - config.beta2)
    if config.server == "fedyogi":
        return second - (1 - config.beta2) * squared * torch.sign(second - squared)
    return second


def _direction(first: Tensor, second: Tensor, config: FederatedConfig, round_number: int) -> Tensor:
    if config.server in ("fedavg", "fedavgm"):
        return first
    steps = round_number + 1
    mean, scale = first / (1 - config.beta1**steps), second / (1 - config.beta2**steps)
    return mean / (scale.sqrt() + config.adaptivity)
