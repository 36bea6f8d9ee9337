"""Self-attention against torch's own modules, in float64."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pfsr.config import ModelConfig
from pfsr.model.amb import Weights
from pfsr.model.encoders.attention import apply_attention
from pfsr.model.encoders.layers import layers

CONFIG = ModelConfig(encoder="sasrec", d_model=16, heads=4, blocks=1)


@pytest.fixture(scope="module")
def weights(weights_of) -> Weights:
    return layers(CONFIG)[0].own(weights_of(CONFIG))


def stream(length: int, batch: int = 2) -> Tensor:
    generator = torch.Generator().manual_seed(length)
    return torch.randn(batch, length, 16, generator=generator, dtype=torch.float64)


def oracle(weights: Weights, x_BLd: Tensor) -> Tensor:
    norm = nn.LayerNorm(16, dtype=torch.float64)
    attention = nn.MultiheadAttention(16, CONFIG.heads, batch_first=True, dtype=torch.float64)
    norm.load_state_dict({"weight": weights["norm"], "bias": weights["norm_bias"]})
    attention.load_state_dict(
        {
            "in_proj_weight": weights["project"].T,
            "in_proj_bias": weights["project_bias"],
            "out_proj.weight": weights["out"].T,
            "out_proj.bias": weights["out_bias"],
        }
    )
    normed, length = norm(x_BLd), x_BLd.shape[1]
    later = torch.ones(length, length, dtype=torch.bool).triu(1)
    return attention(normed, normed, normed, attn_mask=later, need_weights=False)[0].detach()


@pytest.mark.parametrize("length", [1, 2, 9, 50])
def test_it_is_torchs_multi_head_attention(weights, length):
    x_BLd = stream(length)
    actual = apply_attention(weights, x_BLd, torch.ones(2, length, 1).double(), CONFIG)
    torch.testing.assert_close(actual, oracle(weights, x_BLd), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("side", ["left", "right", "both"])
def test_whatever_lies_at_padding_leaves_no_trace(weights, side):
    x_BLd = stream(20)
    real = {"left": slice(6, 20), "right": slice(0, 14), "both": slice(3, 17)}[side]
    real_BL1 = torch.zeros(2, 20, 1).double()
    real_BL1[0, real] = 1
    real_BL1[1] = 1  # clients of one batch are padded differently
    actual = apply_attention(weights, x_BLd, real_BL1, CONFIG)
    assert bool(actual.isfinite().all())
    torch.testing.assert_close(actual[:1, real], oracle(weights, x_BLd[:1, real]), rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(actual[1:], oracle(weights, x_BLd[1:]), rtol=1e-9, atol=1e-9)


def test_a_wider_inner_width_is_the_formula(weights_of):
    config = CONFIG.model_copy(update={"expand": 2, "heads": 2})
    weights = layers(config)[0].own(weights_of(config))
    x_Ld = stream(7, batch=1)[0]
    normed = F.layer_norm(x_Ld, (16,), weights["norm"], weights["norm_bias"])
    q, k, v = (normed @ weights["project"] + weights["project_bias"]).split(32, -1)
    seen = torch.zeros(7, 32, dtype=torch.float64)
    for t in range(7):
        for head in (slice(0, 16), slice(16, 32)):
            logits = k[: t + 1, head] @ q[t, head] / math.sqrt(16)
            seen[t, head] = logits.softmax(0) @ v[: t + 1, head]
    actual = apply_attention(weights, x_Ld[None], torch.ones(1, 7, 1).double(), config)[0]
    torch.testing.assert_close(actual, seen @ weights["out"] + weights["out_bias"], rtol=1e-9, atol=1e-9)
