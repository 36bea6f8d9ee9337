"""Feed-forward network: two linear maps at every position, with layer norm before.

    x -> W_down act(W_up LayerNorm(x) + b_up) + b_down         act: ReLU in SASRec, else GELU

Shapes: B clients, L events, d = d_model, F inner width.
Source: SASRec (arXiv 1808.09781), Mamba4Rec (2403.03900), LRURec (2310.02367).
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from pfsr.config import ModelConfig
from pfsr.model.amb import Weights
from pfsr.model.encoders.affine import init_linear, init_norm, layer_norm, linear, residual_gain

_USUAL_MULTIPLE = {"amb": 0, "sasrec": 1, "gru4rec": 0, "mamba4rec": 4, "lrurec": 4}
"""Inner width, as a multiple of d_model, in the papers that introduced the encoders."""


def ffn_multiple(config: ModelConfig) -> int:
    """Return the inner width as a multiple of d_model; 0: the encoder has no feed-forward network."""
    return config.ffn or _USUAL_MULTIPLE[config.encoder]


def init_ffn(config: ModelConfig, generator: torch.Generator) -> Weights:
    """Return fresh weights."""
    d, inner = config.d_model, config.d_model * ffn_multiple(config)
    up = init_linear("up", (d, inner), generator)
    down = init_linear("down", (inner, d), generator, residual_gain(config.blocks))
    return init_norm(d) | up | down


def apply_ffn(weights: Weights, x_BLd: Tensor, real_BL1: Tensor, config: ModelConfig) -> Tensor:
    """Return what the network adds at each position; positions do not meet, padding or not."""
    up_BLF = linear(weights, "up", layer_norm(weights, x_BLd))
    active_BLF = F.relu(up_BLF) if config.encoder == "sasrec" else F.gelu(up_BLF)
    return linear(weights, "down", active_BLF)


def step_ffn(weights: Weights, state: None, x_B1d: Tensor, config: ModelConfig) -> tuple[None, Tensor]:
    """Return what the network adds to one more event; it remembers nothing."""
    return state, apply_ffn(weights, x_B1d, torch.ones_like(x_B1d[..., :1]), config)


def empty_ffn_state(batch: int, config: ModelConfig, like: Tensor) -> None:
    """Return the state of a network that remembers nothing."""
