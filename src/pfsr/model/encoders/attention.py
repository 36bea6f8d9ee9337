"""Causal self-attention: every event looks at itself and at those before it.

    [Q, K, V] = LayerNorm(X) W + b;    O = softmax(mask(Q K^T / sqrt(P))) V;    adds O W_out + b_out

Shapes: B clients, L events, d = d_model, D = expand d inner width, H heads, P = D / H channels a head.
Source: "Self-Attentive Sequential Recommendation" (SASRec, arXiv 1808.09781), with the norm before keys and
values too, as in "On Layer Normalization in the Transformer Architecture" (2002.04745).
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from pfsr.config import ModelConfig
from pfsr.model.amb import Weights
from pfsr.model.encoders.affine import init_linear, init_norm, layer_norm, linear, residual_gain


def init_attention(config: ModelConfig, generator: torch.Generator) -> Weights:
    """Return fresh weights of one layer."""
    d, inner = config.d_model, config.d_model * config.expand
    project = init_linear("project", (d, 3 * inner), generator)
    out = init_linear("out", (inner, d), generator, residual_gain(config.blocks))
    return init_norm(d) | project | out


def apply_attention(weights: Weights, x_BLd: Tensor, real_BL1: Tensor, config: ModelConfig) -> Tensor:
    """Return what the layer adds at each position; padding (``real_BL1`` 0) is seen by no event."""
    projected_BL3D = linear(weights, "project", layer_norm(weights, x_BLd))
    q_BHLP, k_BHLP, v_BHLP = (
        part.unflatten(-1, (config.heads, -1)).transpose(1, 2) for part in projected_BL3D.chunk(3, -1)
    )
    mask = _mask(real_BL1[..., 0] > 0)
    seen_BHLP = F.scaled_dot_product_attention(q_BHLP, k_BHLP, v_BHLP, attn_mask=mask, is_causal=mask is None)
    return linear(weights, "out", seen_BHLP.transpose(1, 2).flatten(2))


def _mask(real_BL: Tensor) -> Tensor | None:
    """Return who sees whom [B, 1, L, L]; None: everybody sees what is not later (the fast way)."""
    # Padding on the right is later than every event, so causality alone hides it.
    if bool((real_BL[:, 1:] <= real_BL[:, :-1]).all()):
        return None
    length = real_BL.shape[1]
    earlier_LL = torch.ones(length, length, dtype=torch.bool, device=real_BL.device).tril()
    # Padding sees itself: a query that sees nothing is 0 / 0 in some of torch's kernels.
    itself_LL = torch.eye(length, dtype=torch.bool, device=real_BL.device)
    return (earlier_LL & (real_BL[:, None, :] | itself_LL))[:, None]
