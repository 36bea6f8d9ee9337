"""The shared weights as they travel to the clients: in 32, 16 or 8 bits a number.

    32    as the server has them
    16    the nearest of half precision
     8    per row (last axis) a factor s, the bfloat16 next to max |w| / 127, and the integers round(w / s);
          tensors of one axis are few numbers and travel in half precision

The server keeps its own in single precision, so what a round loses by rounding is not lost for good.

Rounding what is rounded changes nothing: the largest number of a row becomes 127 s, which float32 holds
exactly (7 bits by 8), so s and with it every integer is found again. So weights as clients read them are all
that a broadcast has to carry.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from pfsr.errors import PfsrError
from pfsr.model.amb import Weights

HALF_MOST = 65504
"""The largest number in half precision."""

LEVELS = 127
"""The largest of the integers; the smallest is its negative."""


class Travelling(NamedTuple):
    """One tensor on its way.

    Attributes:
        numbers: float32, float16 or int8, in the tensor's shape.
        factors: bfloat16, one a row (the shape without its last axis); None unless ``numbers`` are int8.
    """

    numbers: Tensor
    factors: Tensor | None = None

    def read(self) -> Tensor:
        """Return what a client reads, float32."""
        numbers = self.numbers.float()
        return numbers if self.factors is None else numbers * self.factors.float()[..., None]


def travelling(weights: Weights, bits: int) -> dict[str, Travelling]:
    """Return the weights as they travel in ``bits`` a number, by their names.

    Raises:
        PfsrError: a number is too large for half precision.
    """
    return {name: _sent(name, weight, bits) for name, weight in weights.items()}


def as_read(weights: Weights, bits: int) -> Weights:
    """Return the weights as clients read them, float32; themselves where they travel as they are.

    Raises:
        PfsrError: a number is too large for half precision.
    """
    if bits == 32:
        return weights
    return {name: sent.read() for name, sent in travelling(weights, bits).items()}


def download_bytes(weights: Weights, bits: int) -> int:
    """Return the size of all weights as they travel, without names: their shapes tell it."""
    return sum(_bytes(weight, bits) for weight in weights.values())


def _bytes(weight: Tensor, bits: int) -> int:
    if bits != 8:
        return weight.numel() * bits // 8
    rows = weight.numel() // weight.shape[-1]
    return 2 * weight.numel() if weight.ndim == 1 else weight.numel() + 2 * rows


def _sent(name: str, weight: Tensor, bits: int) -> Travelling:
    if bits == 32:
        return Travelling(weight)
    if bits == 16 or weight.ndim == 1:
        return Travelling(_half(name, weight))
    factors = (weight.abs().amax(-1) / LEVELS).bfloat16()
    steps = weight / factors.float().clamp(min=torch.finfo(torch.float32).tiny)[..., None]
    return Travelling(steps.round_().clamp_(-LEVELS, LEVELS).to(torch.int8), factors)


def _half(name: str, weight: Tensor) -> Tensor:
    half = weight.half()
    if bool(half.isinf().any()):
        raise PfsrError(
            f"weights of {name} exceed {HALF_MOST}, the most that half precision holds; "
            "set federated.download_bits to 32 or lower federated.server_rate"
        )
    return half
