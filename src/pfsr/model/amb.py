"""Associative Mamba Block: norm, one projection, causal convolution, associative scan, gated output.

Weights are plain tensors in a dict, so that the same code runs with one set of weights for everybody,
or with one set per client (an extra leading axis B) while clients train locally.

Shapes: B clients, L events, d = d_model, D = expand d inner width, H heads, N state columns, K conv width.
Source: "Personalized Federated Sequential Recommender" (arXiv 2603.22349), Associative Mamba Block;
lineage Mamba-2 (2405.21060) and SIGMA (2408.11451).
"""

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from pfsr.config import ModelConfig
from pfsr.model.fused import blend, causal_conv, gated, scaled_norm
from pfsr.model.scan import MAX_DECAY, ScanInputs, ScanState, empty_state, scan_chunked, scan_step

Weights = dict[str, Tensor]


class BlockState(NamedTuple):
    """What one block remembers of a prefix: its scan, and the inputs its convolution still needs."""

    conv_BKD: Tensor
    scan: ScanState


def init_block(config: ModelConfig, generator: torch.Generator) -> Weights:
    """Return fresh weights of one block.

    It starts simple, as nearly a moving average of the past, 4 to 200 events wide: its convolution passes an
    event on, its gate is open, and what an event is read and kept with hardly depends on the event.
    """
    d, inner = config.d_model, config.d_model * config.expand
    span = torch.logspace(math.log10(4), math.log10(200), config.heads)
    taps = torch.randn(config.d_conv, inner, generator=generator) * 0.1 / math.sqrt(config.d_conv)
    taps[-1] += 1
    weights = {
        "norm": torch.ones(d),
        "project": torch.randn(d, sum(_sizes(config)), generator=generator) / math.sqrt(d) / 2,
        "project_bias": torch.cat([torch.ones(inner), torch.full((_kernels(config),), 0.5)]),
        "conv": taps,
        "conv_bias": torch.zeros(inner),
        "step_bias": torch.log(torch.expm1(1 / span)),
        "decay": torch.full((config.heads,), math.log(math.e - 1)),
        "skip": torch.ones(inner),
        "out": torch.randn(inner, d, generator=generator) / math.sqrt(inner) / math.sqrt(8 * config.blocks),
        "out_scale": torch.ones(d),
    }
    if config.view == "associative":
        weights["flip"] = torch.full((config.heads,), math.log(math.expm1(0.1)))
        weights["flip_norm"] = torch.ones(inner)
        weights["gate_bias"] = torch.full((config.heads,), -2.0)
    return weights


def apply_block(weights: Weights, x_BLd: Tensor, real_BL1: Tensor, config: ModelConfig) -> Tensor:
    """Return what the block adds at each position of ``x_BLd``; padding (``real_BL1`` 0) leaves no trace."""
    projected = scaled_norm(x_BLd, row(weights["norm"])) @ weights["project"]
    u_BLD, rest = _split(projected, weights, config)
    mixed_BLD = _convolve(u_BLD * real_BL1, weights)
    inputs = _scan_inputs(weights, mixed_BLD, rest, real_BL1)
    y_BLD, flipped_BLD = scan_chunked(inputs, config.horizon)
    return _output(weights, y_BLD, flipped_BLD, mixed_BLD, rest)


def step_block(
    weights: Weights, state: BlockState, x_B1d: Tensor, config: ModelConfig
) -> tuple[BlockState, Tensor]:
    """Return what the block adds to one more event (x_B1d), at constant cost; see :func:`apply_block`."""
    projected = rms_norm(x_B1d) * row(weights["norm"]) @ weights["project"]
    u_B1D, rest = _split(projected, weights, config)
    window_BKD = torch.cat([state.conv_BKD, u_B1D], 1)
    mixed_B1D = F.silu((window_BKD * _taps(weights)).sum(1, keepdim=True) + row(weights["conv_bias"]))
    inputs = _scan_inputs(weights, mixed_B1D, rest, torch.ones_like(u_B1D[..., :1]))
    scan, y_BD, flipped_BD = scan_step(state.scan, inputs)
    flipped_B1D = None if flipped_BD is None else flipped_BD[:, None]
    out_B1d = _output(weights, y_BD[:, None], flipped_B1D, mixed_B1D, rest)
    return BlockState(window_BKD[:, 1:], scan), out_B1d


def empty_block_state(batch: int, config: ModelConfig, like: Tensor) -> BlockState:
    """Return the state of a person with no events."""
    inner = config.d_model * config.expand
    scan = empty_state(batch, config.heads, inner, config.d_state, config.horizon, like)
    return BlockState(like.new_zeros(batch, config.d_conv - 1, inner), scan)


def rms_norm(x: Tensor) -> Tensor:
    """Scale the last axis to root mean square 1."""
    return F.rms_norm(x, x.shape[-1:], eps=1e-6)


class _Rest(NamedTuple):
    """What the projection yields beside the scanned signal u."""

    z_BLD: Tensor
    b_BLN: Tensor
    cf_BLN: Tensor
    step_BLH: Tensor
    cg_BLN: Tensor | None
    gate_BLH: Tensor | None


def _sizes(config: ModelConfig) -> list[int]:
    """Return the columns of each part of the projection: u, z, B, C once a view, then those per head."""
    inner, views = config.d_model * config.expand, 2 if config.view == "associative" else 1
    return [inner, inner, *[config.d_state] * (1 + views), *[config.heads] * views]


def _kernels(config: ModelConfig) -> int:
    """Return how many columns tell what is kept of an event (B) and what is read (C, once per view)."""
    return config.d_state * (3 if config.view == "associative" else 2)


def _split(projected: Tensor, weights: Weights, config: ModelConfig) -> tuple[Tensor, _Rest]:
    sizes, flipped = _sizes(config), config.view == "associative"
    u_BLD, *parts = projected.split(sizes, -1)
    biases = row(weights["project_bias"]).split(sizes[1 : -2 if flipped else -1], -1)
    z_BLD, b_BLN, cf_BLN, *cg = [part + bias for part, bias in zip(parts, biases, strict=False)]
    step_BLH, *gate = parts[len(biases) :]
    return u_BLD, _Rest(z_BLD, b_BLN, cf_BLN, step_BLH, cg[0] if cg else None, gate[0] if gate else None)


def _convolve(u_BLD: Tensor, weights: Weights) -> Tensor:
    return causal_conv(u_BLD, _taps(weights), row(weights["conv_bias"]))


def _taps(weights: Weights) -> Tensor:
    conv = weights["conv"]
    return conv if conv.ndim == 3 else conv[None]


def _scan_inputs(weights: Weights, mixed_BLD: Tensor, rest: _Rest, real_BL1: Tensor) -> ScanInputs:
    step_BLH = F.softplus(rest.step_BLH + row(weights["step_bias"])) * real_BL1
    decay_BLH = (F.softplus(row(weights["decay"])) * step_BLH).clamp(max=MAX_DECAY)
    eta = weights.get("flip")
    eta_BH = None if eta is None else F.softplus(eta if eta.ndim == 2 else eta[None])
    return ScanInputs(-decay_BLH, step_BLH, mixed_BLD, rest.b_BLN, rest.cf_BLN, rest.cg_BLN, eta_BH)


def _output(
    weights: Weights,
    y_BLD: Tensor,
    flipped_BLD: Tensor | None,
    mixed_BLD: Tensor,
    rest: _Rest,
) -> Tensor:
    if flipped_BLD is not None and rest.gate_BLH is not None:
        rho_BLH = torch.sigmoid(rest.gate_BLH + row(weights["gate_bias"]))
        y_BLD = blend(y_BLD, flipped_BLD, rho_BLH, row(weights["flip_norm"]))
    y_BLD = gated(y_BLD, mixed_BLD, rest.z_BLD, row(weights["skip"]))
    return y_BLD @ (weights["out"] * weights["out_scale"][..., None, :])


def row(weight: Tensor) -> Tensor:
    """Let a vector, shared [k] or one per client [B, k], meet tensors [B, L, k]."""
    return weight[None, None] if weight.ndim == 1 else weight[:, None]
