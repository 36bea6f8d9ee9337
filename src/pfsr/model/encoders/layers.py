"""Which layers an encoder is stacked from. Every layer adds something to the stream of its input.

    amb        (Associative Mamba Block [, feed-forward])            per block
    sasrec     (causal self-attention, feed-forward), learned positions before the first
    gru4rec    (gated recurrent unit [, feed-forward])
    mamba4rec  (forward selective state space, feed-forward)
    lrurec     (linear recurrent unit, feed-forward)

Weights are called ``blocks.{index}.{name}``, those of a feed-forward network ``blocks.{index}.ffn.{name}``.

Shapes: B clients, L events, d = d_model.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from pfsr.config import ModelConfig
from pfsr.model.amb import BlockState, Weights, apply_block, empty_block_state, init_block, step_block
from pfsr.model.encoders.attention import apply_attention, init_attention
from pfsr.model.encoders.ffn import apply_ffn, empty_ffn_state, ffn_multiple, init_ffn, step_ffn
from pfsr.model.encoders.gru import apply_gru, init_gru
from pfsr.model.encoders.lru import apply_lru, init_lru

LayerState = BlockState | None
"""What a layer remembers of a prefix; None: nothing."""


class Steps(NamedTuple):
    """How a layer takes in one event at a time, at constant cost."""

    start: Callable[[int, ModelConfig, Tensor], LayerState]
    step: Callable[[Weights, Any, Tensor, ModelConfig], tuple[LayerState, Tensor]]


class Kind(NamedTuple):
    """A kind of layer: fresh weights, what it adds to a whole sequence, and steps (None: it has none)."""

    init: Callable[[ModelConfig, torch.Generator], Weights]
    apply: Callable[[Weights, Tensor, Tensor, ModelConfig], Tensor]
    steps: Steps | None


_BLOCK = Kind(init_block, apply_block, Steps(empty_block_state, step_block))
_ATTENTION = Kind(init_attention, apply_attention, None)
_GRU = Kind(init_gru, apply_gru, None)
_LRU = Kind(init_lru, apply_lru, None)
_FFN = Kind(init_ffn, apply_ffn, Steps(empty_ffn_state, step_ffn))
_MIXERS = {"amb": _BLOCK, "sasrec": _ATTENTION, "gru4rec": _GRU, "mamba4rec": _BLOCK, "lrurec": _LRU}


@dataclass(frozen=True)
class Layer:
    """A layer at its place in the stack; it finds its weights among those of the whole model."""

    name: str
    kind: Kind
    config: ModelConfig

    def init(self, generator: torch.Generator) -> Weights:
        """Return fresh weights under their full names."""
        fresh = self.kind.init(self.config, generator)
        return {f"{self.name}.{part}": value for part, value in fresh.items()}

    def apply(self, weights: Weights, x_BLd: Tensor, real_BL1: Tensor) -> Tensor:
        """Return what the layer adds at each position; padding (``real_BL1`` 0) leaves no trace."""
        return self.kind.apply(self.own(weights), x_BLd, real_BL1, self.config)

    def own(self, weights: Weights) -> Weights:
        """Return the layer's weights under their short names."""
        split = ((*name.rpartition("."), value) for name, value in weights.items())
        return {part: value for stem, _, part, value in split if stem == self.name}


def layers(config: ModelConfig) -> tuple[Layer, ...]:
    """Return the stack, first layer first."""
    if config.encoder == "mamba4rec":
        config = config.model_copy(update={"view": "forward"})
    stack = []
    for index in range(config.blocks):
        stack.append(Layer(f"blocks.{index}", _MIXERS[config.encoder], config))
        if ffn_multiple(config):
            stack.append(Layer(f"blocks.{index}.ffn", _FFN, config))
    return tuple(stack)


def layer_count(config: ModelConfig) -> int:
    """Return how many layers the encoder has."""
    return len(layers(config))
