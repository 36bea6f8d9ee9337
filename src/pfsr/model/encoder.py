"""From a history to a query: item vectors, Associative Mamba Blocks, final scale and personal vector.

Shapes: B clients, L events, d = d_model, I items. Row 0 of the item table is padding.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from pfsr.config import ModelConfig
from pfsr.model.amb import (
    BlockState,
    Weights,
    apply_block,
    empty_block_state,
    init_block,
    rms_norm,
    step_block,
)
from pfsr.model.response import USER

ITEMS, ITEM_BIAS = "items", "item_bias"
"""Names of the item table [I + 1, d] and of the score biases [I + 1]."""


def init_weights(config: ModelConfig, items: int, seed: int) -> Weights:
    """Return fresh shared weights for a catalogue of ``items`` items, sorted by name."""
    generator = torch.Generator().manual_seed(seed)
    table = torch.randn(items + 1, config.d_model, generator=generator) * 0.02
    table[0] = 0
    weights = {ITEMS: table, ITEM_BIAS: torch.zeros(items + 1), "scale": torch.ones(config.d_model)}
    for index in range(config.blocks):
        block = init_block(config, generator)
        weights |= {f"blocks.{index}.{name}": value for name, value in block.items()}
    return dict(sorted(weights.items()))


def embed(table: Tensor, items_BL: Tensor) -> Tensor:
    """Look up item vectors, scaled to the size that the blocks expect."""
    return table[items_BL] * math.sqrt(table.shape[-1])


def encode(
    weights: Weights,
    x_BLd: Tensor,
    real_BL: Tensor,
    config: ModelConfig,
    keep: Sequence[Tensor] = (),
) -> Tensor:
    """Return the query after each event, [B, L, d]; a query's inner product with an item is its score.

    Args:
        weights: shared, or with a leading client axis; may hold the personal vector ``user`` [B, d].
        x_BLd: embedded events (see :func:`embed`).
        real_BL: true where there is an event, false at padding (on either side).
        config: the model's shape.
        keep: dropout masks [B, L, d] while training: one for the input, then one per block.
    """
    real_BL1 = real_BL[..., None].to(x_BLd.dtype)
    x_BLd = _kept(x_BLd * real_BL1, keep, 0)
    for index in range(config.blocks):
        x_BLd = x_BLd + _kept(apply_block(_block(weights, index), x_BLd, real_BL1, config), keep, index + 1)
    return _query(weights, x_BLd)


def encode_step(
    weights: Weights, states: list[BlockState], x_B1d: Tensor, config: ModelConfig
) -> tuple[list[BlockState], Tensor]:
    """Take in one more event; return the new states and the query [B, 1, d]."""
    new_states = []
    for index, before in enumerate(states):
        after, added_B1d = step_block(_block(weights, index), before, x_B1d, config)
        new_states.append(after)
        x_B1d = x_B1d + added_B1d
    return new_states, _query(weights, x_B1d)


def empty_states(batch: int, config: ModelConfig, like: Tensor) -> list[BlockState]:
    """Return the states of ``batch`` people without a history."""
    return [empty_block_state(batch, config, like) for _ in range(config.blocks)]


def scores(weights: Weights, query_Bd: Tensor) -> Tensor:
    """Return the score of every item, [B, I + 1]; column 0 (padding) is minus infinity."""
    result = query_Bd @ weights[ITEMS].T + weights[ITEM_BIAS]
    result[:, 0] = -torch.inf
    return result


def _kept(x_BLd: Tensor, keep: Sequence[Tensor], site: int) -> Tensor:
    return x_BLd * keep[site] if keep else x_BLd


def _query(weights: Weights, x_BLd: Tensor) -> Tensor:
    scale = weights["scale"]
    query = rms_norm(x_BLd) * (scale if scale.ndim == 1 else scale[:, None])
    return query + weights[USER][:, None] if USER in weights else query


def _block(weights: Weights, index: int) -> Weights:
    prefix = f"blocks.{index}."
    return {name.removeprefix(prefix): value for name, value in weights.items() if name.startswith(prefix)}
