"""Gated recurrent unit over the sequence, with layer norm before.

    r_t, z_t = sigmoid(x_t W + b + h_{t-1} U + c)            reset and update gate
    n_t      = tanh(x_t W_n + b_n + r_t (h_{t-1} U_n + c_n))
    h_t      = (1 - z_t) n_t + z_t h_{t-1}                    added (mapped to d where D differs)

Shapes: B clients, L events, d = d_model, D = expand d width of the state.
Source: "Session-based Recommendations with Recurrent Neural Networks" (GRU4Rec, arXiv 1511.06939).
"""

import torch
from torch import Tensor

from pfsr.config import ModelConfig
from pfsr.model.amb import Weights
from pfsr.model.encoders.affine import init_linear, init_norm, layer_norm, linear


def init_gru(config: ModelConfig, generator: torch.Generator) -> Weights:
    """Return fresh weights of one layer."""
    d, inner = config.d_model, config.d_model * config.expand
    project = init_linear("project", (d, 3 * inner), generator)
    state = init_linear("state", (inner, 3 * inner), generator)
    out = init_linear("out", (inner, d), generator) if inner != d else {}
    return init_norm(d) | project | state | out


def apply_gru(weights: Weights, x_BLd: Tensor, real_BL1: Tensor, config: ModelConfig) -> Tensor:
    """Return what the layer adds at each position; at padding (``real_BL1`` 0) the state stands still."""
    inputs_BL3D = linear(weights, "project", layer_norm(weights, x_BLd))
    h_B1D = x_BLd.new_zeros(len(x_BLd), 1, inputs_BL3D.shape[-1] // 3)
    states = []
    for input_B13D, real_B11 in zip(inputs_BL3D.split(1, 1), real_BL1.split(1, 1), strict=True):
        h_B1D = h_B1D + real_B11 * _change(h_B1D, input_B13D, linear(weights, "state", h_B1D))
        states.append(h_B1D)
    states_BLD = torch.cat(states, 1)
    return linear(weights, "out", states_BLD) if "out" in weights else states_BLD


def _change(h_B1D: Tensor, input_B13D: Tensor, state_B13D: Tensor) -> Tensor:
    input_r, input_z, input_n = input_B13D.chunk(3, -1)
    state_r, state_z, state_n = state_B13D.chunk(3, -1)
    new_B1D = torch.tanh(input_n + torch.sigmoid(input_r + state_r) * state_n)
    return torch.sigmoid(-input_z - state_z) * (new_B1D - h_B1D)
