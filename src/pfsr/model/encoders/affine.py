"""What the rivals' layers share: layer norm and linear maps, for weights of everybody or of each client.

Shapes: B clients, L events, d = d_model.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from pfsr.model.amb import Weights, row


def init_norm(width: int) -> Weights:
    """Return the weights of a fresh :func:`layer_norm`."""
    return {"norm": torch.ones(width), "norm_bias": torch.zeros(width)}


def layer_norm(weights: Weights, x_BLd: Tensor) -> Tensor:
    """Normalize every event's vector, then scale and shift it."""
    return F.layer_norm(x_BLd, x_BLd.shape[-1:]) * row(weights["norm"]) + row(weights["norm_bias"])


def init_linear(name: str, shape: tuple[int, int], generator: torch.Generator, gain: float = 1.0) -> Weights:
    """Return the weights of a fresh :func:`linear` that turns vectors of size 1 into vectors of ``gain``."""
    matrix = torch.randn(shape, generator=generator) * gain / math.sqrt(shape[0])
    return {name: matrix, f"{name}_bias": torch.zeros(shape[1])}


def linear(weights: Weights, name: str, x_BLd: Tensor) -> Tensor:
    """Return x W + b."""
    return x_BLd @ weights[name] + row(weights[f"{name}_bias"])


def residual_gain(blocks: int) -> float:
    """Return the first size of what a layer adds, so that ``blocks`` blocks together add about 1."""
    return 1 / math.sqrt(2 * blocks)
