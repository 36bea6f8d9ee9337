"""The blocks whose cost is compared, each at the same width with the norm and the residual it needs.

    AMB            Associative Mamba Block (forward view), and with the flipped state beside it
    SASRec         causal self-attention (torch's own kernel, 2 heads), feed-forward network 1x or 4x as wide
    Mamba4Rec      selective state space of twice the width (16 columns, convolution of 4), network 4x as wide

Source: SASRec (arXiv 1808.09781), Mamba4Rec (arXiv 2403.03900).
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from flops import (
    attention_flops,
    causal_keys,
    computed_keys,
    ffn_flops,
    needed_scan_flops,
    projection_flops,
    scan_flops,
)
from torch import Tensor, nn

from pfsr.config import ModelConfig
from pfsr.model.amb import BlockState, apply_block, empty_block_state, init_block, step_block
from pfsr.model.scan import chunk_size

HEADS = 2


class Flops(NamedTuple):
    """Forward FLOPs of the matrix products per event: what is needed, and what is done."""

    needed: float
    done: float


class Arm(NamedTuple):
    """One block: what encodes [B, L, d], the weights that gradients are asked for, its FLOPs at a length."""

    encode: Callable[[Tensor], Tensor]
    weights: list[Tensor]
    flops: Callable[[int], Flops]


class FeedForward(nn.Module):
    """Norm, widen, bend, narrow; added to what comes in."""

    def __init__(self, d_model: int, expand: int, bend: Callable[[Tensor], Tensor] = F.relu) -> None:
        super().__init__()
        self.norm, self.bend = nn.LayerNorm(d_model), bend
        self.up, self.down = nn.Linear(d_model, expand * d_model), nn.Linear(expand * d_model, d_model)

    def forward(self, x_BLd: Tensor) -> Tensor:
        """Transform each position on its own."""
        return x_BLd + self.down(self.bend(self.up(self.norm(x_BLd))))


class Attention(nn.Module):
    """SASRec's block: causal self-attention, then a feed-forward network, each after a norm."""

    def __init__(self, d_model: int, expand: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(d_model)
        self.project, self.out = nn.Linear(d_model, 3 * d_model), nn.Linear(d_model, d_model)
        self.feed = FeedForward(d_model, expand)

    def forward(self, x_BLd: Tensor) -> Tensor:
        """Encode all positions at once."""
        mixed = F.scaled_dot_product_attention(*self.parts(x_BLd), is_causal=True)
        return self._finish(x_BLd, mixed)

    def step(self, x_B1d: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        """Encode one more event; its key and value become the last of those given, [B, heads, L, P]."""
        query, key, value = self.parts(x_B1d)
        keys[:, :, -1:], values[:, :, -1:] = key, value
        return self._finish(x_B1d, F.scaled_dot_product_attention(query, keys, values))

    def parts(self, x_BLd: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return queries, keys and values, [B, heads, L, P] each."""
        projected = self.project(self.norm(x_BLd)).unflatten(-1, (3, HEADS, -1))
        query, key, value = projected.permute(2, 0, 3, 1, 4)
        return query, key, value

    def _finish(self, x_BLd: Tensor, mixed: Tensor) -> Tensor:
        return self.feed(x_BLd + self.out(mixed.transpose(1, 2).flatten(2)))


def arms(d_model: int) -> dict[str, Arm]:
    """Return the blocks by name; the first one is what the others are compared with."""
    wide = ModelConfig(d_model=d_model, expand=2)
    return {
        "AMB": amb_arm(ModelConfig(d_model=d_model)),
        "AMB, flipped too": amb_arm(ModelConfig(d_model=d_model, view="associative")),
        "SASRec, FFN 1x": attention_arm(d_model, 1),
        "SASRec, FFN 4x": attention_arm(d_model, 4),
        "Mamba4Rec-style": amb_arm(wide, feed=FeedForward(d_model, 4, F.gelu)),
    }


def amb_arm(config: ModelConfig, feed: FeedForward | None = None) -> Arm:
    """Return a block of PFSR's own, with ``feed`` (4 times the width) after it."""
    weights = init_block(config, torch.Generator().manual_seed(0))
    leaves = [weight.requires_grad_() for weight in weights.values()]

    def encode(x_BLd: Tensor) -> Tensor:
        y_BLd = x_BLd + apply_block(weights, x_BLd, torch.ones_like(x_BLd[..., :1]), config)
        return y_BLd if feed is None else feed(y_BLd)

    def flops(length: int) -> Flops:
        rest = projection_flops(config) + (0 if feed is None else ffn_flops(config.d_model, 4))
        scans = needed_scan_flops, scan_flops
        return Flops(*(rest + scan(config, chunk_size(length)) for scan in scans))

    return Arm(encode, leaves + ([] if feed is None else list(feed.parameters())), flops)


def attention_arm(d_model: int, expand: int) -> Arm:
    """Return SASRec's block."""
    module = Attention(d_model, expand)

    def flops(length: int) -> Flops:
        rest = ffn_flops(d_model, expand)
        keys = causal_keys(length), computed_keys(length)
        return Flops(*(attention_flops(d_model, each) + rest for each in keys))

    return Arm(module, list(module.parameters()), flops)


def event_arms(d_model: int, length: int) -> dict[str, Callable[[], Tensor]]:
    """Return ways to encode one more event, the last of ``length``, of one person."""
    config, attention = ModelConfig(d_model=d_model), Attention(d_model, 1)
    weights = init_block(config, torch.Generator().manual_seed(0))
    again = amb_arm(config).encode
    x_1Ld = torch.randn(1, length, d_model)
    last = x_1Ld[:, -1:]
    _, keys, values = (part.contiguous() for part in attention.parts(x_1Ld))
    state: BlockState = empty_block_state(1, config, x_1Ld)
    return {
        "AMB, one step": lambda: last + step_block(weights, state, last, config)[1],
        "AMB, history again": lambda: again(x_1Ld),
        "SASRec, FFN 1x, KV cache": lambda: attention.step(last, keys, values),
        "SASRec, FFN 1x, history again": lambda: attention(x_1Ld),
    }
