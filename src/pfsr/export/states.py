"""The state of an encoder as one flat vector, and what lies where in it.

Shapes: Z floats of state, d = d_model.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from pfsr.config import ModelConfig
from pfsr.model.amb import BlockState
from pfsr.model.encoder import empty_states
from pfsr.model.encoders.layers import Layer, LayerState, layers
from pfsr.model.scan import ScanState


@dataclass(frozen=True)
class StateLayout:
    """Names and shapes (without the batch) of the tensors that a flat state [1, Z] is made of, in order."""

    config: ModelConfig
    shapes: dict[str, tuple[int, ...]]

    @classmethod
    def of(cls, config: ModelConfig) -> "StateLayout":
        """Return the layout for a model of this shape.

        Raises:
            PfsrError: its encoder has no state of constant size.
        """
        parts = _parts(config, empty_states(1, config, torch.zeros(1)))
        return cls(config, {name: tuple(part.shape[1:]) for name, part in parts})

    @property
    def total(self) -> int:
        """Z."""
        return sum(math.prod(shape) for shape in self.shapes.values())

    def split(self, flat_1Z: Tensor) -> list[LayerState]:
        """Return the layers' states that a flat state stands for."""
        flat = flat_1Z.split([math.prod(shape) for shape in self.shapes.values()], 1)
        shaped = zip(self.shapes.items(), flat, strict=True)
        parts = {name: part.reshape(1, *shape) for (name, shape), part in shaped}
        empty = empty_states(1, self.config, flat_1Z)
        return [_filled(*pair, parts) for pair in zip(layers(self.config), empty, strict=True)]

    def join(self, states: list[LayerState]) -> Tensor:
        """Return the flat state; the inverse of :meth:`split`."""
        return torch.cat([part.flatten(1) for _, part in _parts(self.config, states)], 1)


def _parts(config: ModelConfig, states: list[LayerState]) -> Iterator[tuple[str, Tensor]]:
    for layer, state in zip(layers(config), states, strict=True):
        if state is not None:
            yield _conv(layer), state.conv_BKD
            for name, field in _fields(layer).items():
                yield name, getattr(state.scan, field)


def _filled(layer: Layer, empty: LayerState, parts: dict[str, Tensor]) -> LayerState:
    if empty is None:
        return None
    scan = {field: parts[name] for name, field in _fields(layer).items()}
    return BlockState(parts[_conv(layer)], empty.scan._replace(**scan))


def _conv(layer: Layer) -> str:
    return f"{layer.name}.conv"


def _fields(layer: Layer) -> dict[str, str]:
    """Return the parts of the scan's state that the layer uses: full name -> field."""
    fields = ("h_BND",) if layer.config.view == "forward" else ScanState._fields
    return {f"{layer.name}.{field.rpartition('_')[0]}": field for field in fields}
