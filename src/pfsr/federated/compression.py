"""A movement as a few bits per number: a random rotation, then a coarse uniform quantizer, without bias.

    y = H D2 S D1 x             in blocks of 4,096 numbers; D random signs, H = H16 x H16 x H16 Hadamard
    k = floor(y / width)        clamped to 2^bits levels; the width suits the near-normal coordinates of y
    step = |x|^2 / <y, k + 1/2>,     decoded: x' = step D1 S D2 H (k + 1/2)

<x', x> = |x|^2 holds exactly, and what x' has beside x averages out over rotations: the mean of x' is x.
One bit is DRIVE; more bits are EDEN with a uniform quantizer, which needs no search through a table (its
squared error at 2, 4, 8 bits is 1.01, 1.2, 2 times that of the best quantizer).

S, a sine transform of 16 numbers, is ours. Under H alone a lone large number makes all of y equally large,
and one bit would then always lose the small numbers beside it: a bias that no averaging cures. S breaks the
large number into 16 unequal ones, of which H makes a near-normal y.

Every client draws signs of its own (its blocks share them, which is faster): under a common rotation, clients
who agree would make the same error.

Sources: "DRIVE: One-bit Distributed Mean Estimation" (arXiv 2105.08339), "EDEN: Communication-Efficient and
Robust Distributed Mean Estimation" (arXiv 2108.08842).

Shapes: N numbers, padded with zeros to whole blocks; K blocks of C = 4,096 numbers.
"""

import math
from functools import cache
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

BLOCK = 4096
"""Numbers rotated together."""

RADIX = 16
"""Size of the small matrices that a rotation is made of; BLOCK = RADIX^3."""

LEAST_NORM = 1e-30
"""Stands for 0 in a divisor, so that a block of zeros decodes to zeros."""


class Codes(NamedTuple):
    """A flat vector as few bits per number.

    Attributes:
        codes_N: uint8, the level of every rotated number (below 2^bits), number by number of all blocks.
        steps_K: float32, width of a level, per block; 0 for a block of zeros.
    """

    codes_N: Tensor
    steps_K: Tensor


def padded(numbers: int) -> int:
    """Return ``numbers`` rounded up to whole blocks."""
    return -(-numbers // BLOCK) * BLOCK


def random_signs(seed: int) -> Tensor:
    """Return the signs D1 and D2 of a rotation, float32 [2, C]: the bits of PCG64's bytes, 1 for minus."""
    drawn = np.frombuffer(np.random.default_rng(seed).bytes(2 * BLOCK // 8), dtype=np.uint8)
    return torch.from_numpy(1 - 2 * np.unpackbits(drawn).astype(np.float32)).view(2, BLOCK)


def encode(x_N: Tensor, signs_2C: Tensor, bits: int) -> Codes:
    """Return ``x_N`` (float32, whole blocks) as codes of ``bits`` (8 at most).

    A block with a number that is not finite, or beyond the reach of float32 when squared, decodes to numbers
    that are not finite, so that the round is refused.
    """
    x_KC = x_N.view(-1, BLOCK)
    norm_K = torch.linalg.vector_norm(x_KC, dim=1)
    y_CK = _rotate(x_KC, signs_2C)
    per_level_K = math.sqrt(BLOCK) / level_width(bits) / norm_K.clamp(min=LEAST_NORM)
    half = 2 ** (bits - 1)
    level_CK = (y_CK * per_level_K).floor_().clamp_(-half, half - 1)
    codes_N = (level_CK + half).to(torch.uint8).view(-1)
    dot_K = level_CK.add_(0.5).mul_(y_CK).sum(0)
    return Codes(codes_N, norm_K * (norm_K / dot_K.clamp(min=LEAST_NORM)))


def decode(coded: Codes, signs_2C: Tensor, bits: int) -> Tensor:
    """Return the numbers [N] that codes of ``bits`` stand for."""
    middle_N = coded.codes_N.float().sub_(2 ** (bits - 1) - 0.5)
    return _rotate_back(middle_N.view(BLOCK, -1).mul_(coded.steps_K), signs_2C).view(-1)


def pack(codes_N: Tensor, bits: int) -> Tensor:
    """Return codes of ``bits`` side by side in bytes, the first in the lowest bits."""
    return (codes_N.view(-1, 8 // bits) << _shifts(bits)).sum(1, dtype=torch.uint8)


def unpack(packed: Tensor, bits: int) -> Tensor:
    """Return the codes that :func:`pack` packed."""
    return ((packed[:, None] >> _shifts(bits)) & (2**bits - 1)).view(-1)


@cache
def level_width(bits: int) -> float:
    """Return the width of a level, for standard normal numbers, that leaves the smallest error.

    With q = k + 1/2 for z in level k, the error is E q^2 / (E zq)^2 - 1 of |x|^2, and both moments are
    sums over the thresholds k width. With one bit only the sign counts, and any width does.
    """
    k = torch.arange(1, 2 ** (bits - 1), dtype=torch.float64)
    width = torch.linspace(0.01, 2, 2000, dtype=torch.float64)
    threshold = width[:, None] * k
    zq = (1 + 2 * torch.exp(-(threshold**2) / 2).sum(1)) / math.sqrt(2 * math.pi)
    qq = 0.25 + (2 * k * torch.erfc(threshold / math.sqrt(2))).sum(1)
    return float(width[torch.argmin(qq / zq**2)])


def _rotate(x_KC: Tensor, signs_2C: Tensor) -> Tensor:
    """Return the rotated blocks, one a column."""
    first_C, second_C = signs_2C
    spread_KC = ((x_KC * first_C).view(-1, RADIX) @ _sine()).view(-1, BLOCK).mul_(second_C)
    y_N = spread_KC.view(-1)
    for _ in range(3):
        # Each product transforms the last digit of the index (to base RADIX) and turns it to the front.
        y_N = (_hadamard() @ y_N.view(-1, RADIX).T).view(-1)
    return y_N.view(BLOCK, -1)


def _rotate_back(y_CK: Tensor, signs_2C: Tensor) -> Tensor:
    """Return the blocks that :func:`_rotate` rotated, one a row."""
    first_C, second_C = signs_2C
    x_N = y_CK.view(-1)
    for _ in range(3):
        x_N = (x_N.view(RADIX, -1).T @ _hadamard()).view(-1)
    spread_KC = x_N.view(-1, BLOCK).mul_(second_C)
    return (spread_KC.view(-1, RADIX) @ _sine()).view(-1, BLOCK).mul_(first_C)


@cache
def _hadamard() -> Tensor:
    """Return Sylvester's Hadamard matrix, normalized; it is its own inverse."""
    matrix = torch.ones(1, 1)
    while len(matrix) < RADIX:
        matrix = torch.cat([torch.cat([matrix, matrix], 1), torch.cat([matrix, -matrix], 1)])
    return matrix / math.sqrt(RADIX)


@cache
def _sine() -> Tensor:
    """Return the sine transform IV, normalized: its own inverse, 16 different sizes in every row."""
    odd = 2 * torch.arange(RADIX, dtype=torch.float64) + 1
    sines = torch.sin(torch.outer(odd, odd) * (math.pi / (4 * RADIX)))
    return (sines * math.sqrt(2 / RADIX)).float()


def _shifts(bits: int) -> Tensor:
    return torch.arange(0, 8, bits, dtype=torch.uint8)
