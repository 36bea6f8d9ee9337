"""From a history to a query: item vectors, a stack of residual layers, final scale and personal vector.

Which layers is the only thing in which encoders differ (see ``encoders.layers``). Item table, biases, final
norm and scale, personal vector, loss and training are the same for all, so that rivals are compared on one
harness.

Shapes: B clients, L events, d = d_model, I items. Row 0 of the item table is padding.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from pfsr.config import ModelConfig
from pfsr.errors import PfsrError
from pfsr.model.amb import Weights, rms_norm, row
from pfsr.model.encoders.layers import Layer, LayerState, Steps, layers
from pfsr.model.encoders.positions import POSITIONS, init_positions, positions
from pfsr.model.response import HEAD, USER

ITEMS, ITEM_BIAS = "items", "item_bias"
"""Names of the item table [I + 1, d] and of the score biases [I + 1]."""


def init_weights(config: ModelConfig, items: int, seed: int) -> Weights:
    """Return fresh shared weights for a catalogue of ``items`` items, sorted by name."""
    generator = torch.Generator().manual_seed(seed)
    table = torch.randn(items + 1, config.d_model, generator=generator) * 0.02
    table[0] = 0
    weights = {ITEMS: table, ITEM_BIAS: torch.zeros(items + 1), "scale": torch.ones(config.d_model)}
    weights |= init_positions(config, generator)
    for layer in layers(config):
        weights |= layer.init(generator)
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
        keep: dropout masks [B, L, d] while training: one for the input, then one per layer.
    """
    real_BL1 = real_BL[..., None].to(x_BLd.dtype)
    if POSITIONS in weights:
        x_BLd = x_BLd + positions(weights[POSITIONS], real_BL)
    x_BLd = _kept(x_BLd * real_BL1, keep, 0)
    for site, layer in enumerate(layers(config), 1):
        x_BLd = x_BLd + _kept(layer.apply(weights, x_BLd, real_BL1), keep, site)
    return _query(weights, x_BLd, config)


def encode_step(
    weights: Weights, states: list[LayerState], x_B1d: Tensor, config: ModelConfig
) -> tuple[list[LayerState], Tensor]:
    """Take in one more event; return the new states and the query [B, 1, d].

    Raises:
        PfsrError: the encoder has no state of constant size.
    """
    new_states = []
    for (layer, steps), before in zip(_steps(config), states, strict=True):
        after, added_B1d = steps.step(layer.own(weights), before, x_B1d, layer.config)
        new_states.append(after)
        x_B1d = x_B1d + added_B1d
    return new_states, _query(weights, x_B1d, config)


def empty_states(batch: int, config: ModelConfig, like: Tensor) -> list[LayerState]:
    """Return the states of ``batch`` people without a history, one per layer.

    Raises:
        PfsrError: the encoder has no state of constant size.
    """
    return [steps.start(batch, layer.config, like) for layer, steps in _steps(config)]


def scores(weights: Weights, query_Bd: Tensor) -> Tensor:
    """Return the score of every item, [B, I + 1]; column 0 (padding) is minus infinity."""
    result = query_Bd @ weights[ITEMS].T + weights[ITEM_BIAS]
    result[:, 0] = -torch.inf
    return result


def _kept(x_BLd: Tensor, keep: Sequence[Tensor], site: int) -> Tensor:
    return x_BLd * keep[site] if keep else x_BLd


def _steps(config: ModelConfig) -> list[tuple[Layer, Steps]]:
    stack = layers(config)
    found = [(layer, layer.kind.steps) for layer in stack if layer.kind.steps]
    if len(found) < len(stack):
        raise PfsrError(
            f"encoder {config.encoder} has no constant-size state; use score, which reads the history again"
        )
    return found


def _query(weights: Weights, x_BLd: Tensor, config: ModelConfig) -> Tensor:
    sized_BLd = rms_norm(x_BLd) if config.final_norm else x_BLd * math.sqrt(config.d_model)
    query = sized_BLd * row(weights["scale"])
    if HEAD in weights:
        width = query.shape[-1]
        query = query + query @ weights[HEAD].unflatten(-1, (width, width))
    return query + weights[USER][:, None] if USER in weights else query
