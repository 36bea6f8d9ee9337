"""The elementwise parts of a block, each with its backward pass written by hand.

Memory traffic is what bounds a block on a CPU; by hand, these parts read and write less than autograd would.
All are differentiable once.

Shapes: B clients, L events, D channels, H heads, K conv width. A row is a vector that all clients share,
[1, 1, D], or one per client, [B, 1, D]; taps are [1, K, D] or [B, K, D].
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import Function, once_differentiable

EPSILON = 1e-6
"""Added to the mean square that a norm divides by."""


def scaled_norm(x_BLD: Tensor, row: Tensor) -> Tensor:
    """Scale the last axis to root mean square 1, then every channel by its own factor."""
    return _ScaledNorm.apply(x_BLD, row)


def causal_conv(u_BLD: Tensor, taps: Tensor, bias_row: Tensor) -> Tensor:
    """Return SiLU of the causal depthwise convolution; the last tap is the newest event's."""
    return _CausalConv.apply(u_BLD, taps, bias_row)


def blend(y_BLD: Tensor, flipped_BLD: Tensor, rho_BLH: Tensor, row: Tensor) -> Tensor:
    """Return (1 - rho) y + rho row RMSNorm(flipped), with one rho per head."""
    return _Blend.apply(y_BLD, flipped_BLD, rho_BLH, row)


def gated(y_BLD: Tensor, mixed_BLD: Tensor, z_BLD: Tensor, skip_row: Tensor) -> Tensor:
    """Return (y + skip mixed) SiLU(z)."""
    return _Gated.apply(y_BLD, mixed_BLD, z_BLD, skip_row)


class _ScaledNorm(Function):
    @staticmethod
    def forward(ctx: Any, x_BLD: Tensor, row: Tensor) -> Tensor:
        normed_BLD, inverse_BL1 = _normed(x_BLD)
        ctx.save_for_backward(normed_BLD, inverse_BL1, row)
        return normed_BLD * row

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_BLD: Tensor) -> tuple[Tensor, Tensor]:  # pyright: ignore[reportIncompatibleMethodOverride]
        normed_BLD, inverse_BL1, row = ctx.saved_tensors
        drow = _to_row(grad_BLD * normed_BLD, row)
        return _norm_backward(grad_BLD * row, normed_BLD, inverse_BL1), drow


class _CausalConv(Function):
    @staticmethod
    def forward(ctx: Any, u_BLD: Tensor, taps: Tensor, bias_row: Tensor) -> Tensor:
        width, length = taps.shape[1], u_BLD.shape[1]
        total_BLD = torch.addcmul(bias_row, u_BLD, taps[:, -1:])
        for back in range(1, min(width, length)):
            total_BLD[:, back:].addcmul_(u_BLD[:, :-back], _tap(taps, back))
        ctx.save_for_backward(u_BLD, taps, bias_row, total_BLD)
        return F.silu(total_BLD)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_BLD: Tensor) -> tuple[Tensor, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        u_BLD, taps, bias_row, total_BLD = ctx.saved_tensors
        width, length = taps.shape[1], u_BLD.shape[1]
        grad_BLD = torch.ops.aten.silu_backward(grad_BLD, total_BLD)
        du_BLD = grad_BLD * taps[:, -1:]
        dtaps = taps.new_zeros(len(u_BLD), *taps.shape[1:])
        torch.sum(grad_BLD * u_BLD, 1, out=dtaps[:, -1])
        for back in range(1, min(width, length)):
            du_BLD[:, :-back].addcmul_(grad_BLD[:, back:], _tap(taps, back))
            torch.sum(grad_BLD[:, back:] * u_BLD[:, :-back], 1, out=dtaps[:, -1 - back])
        return du_BLD, dtaps.sum_to_size(taps.shape), _to_row(grad_BLD, bias_row)


class _Blend(Function):
    @staticmethod
    def forward(ctx: Any, y_BLD: Tensor, flipped_BLD: Tensor, rho_BLH: Tensor, row: Tensor) -> Tensor:
        normed_BLD, inverse_BL1 = _normed(flipped_BLD)
        apart_BLD = (normed_BLD * row).sub_(y_BLD)
        ctx.save_for_backward(normed_BLD, inverse_BL1, apart_BLD, rho_BLH, row)
        return torch.addcmul(_heads(y_BLD, rho_BLH), _heads(apart_BLD, rho_BLH), rho_BLH[..., None]).flatten(
            -2
        )

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_BLD: Tensor) -> tuple[Tensor, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        normed_BLD, inverse_BL1, apart_BLD, rho_BLH, row = ctx.saved_tensors
        drho_BLH = _heads(grad_BLD * apart_BLD, rho_BLH).sum(-1)
        dapart_BLD = (_heads(grad_BLD, rho_BLH) * rho_BLH[..., None]).flatten(-2)
        dy_BLD = grad_BLD - dapart_BLD
        drow = _to_row(dapart_BLD * normed_BLD, row)
        dflipped_BLD = _norm_backward(dapart_BLD.mul_(row), normed_BLD, inverse_BL1)
        return dy_BLD, dflipped_BLD, drho_BLH, drow


class _Gated(Function):
    @staticmethod
    def forward(ctx: Any, y_BLD: Tensor, mixed_BLD: Tensor, z_BLD: Tensor, skip_row: Tensor) -> Tensor:
        total_BLD, gate_BLD = torch.addcmul(y_BLD, mixed_BLD, skip_row), F.silu(z_BLD)
        ctx.save_for_backward(total_BLD, gate_BLD, mixed_BLD, z_BLD, skip_row)
        return total_BLD * gate_BLD

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_BLD: Tensor) -> tuple[Tensor, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        total_BLD, gate_BLD, mixed_BLD, z_BLD, skip_row = ctx.saved_tensors
        dz_BLD = torch.ops.aten.silu_backward(grad_BLD * total_BLD, z_BLD)
        dtotal_BLD = grad_BLD * gate_BLD
        return dtotal_BLD, dtotal_BLD * skip_row, dz_BLD, _to_row(dtotal_BLD * mixed_BLD, skip_row)


def _normed(x_BLD: Tensor) -> tuple[Tensor, Tensor]:
    size_BL1 = torch.linalg.vector_norm(x_BLD, dim=-1, keepdim=True)
    inverse_BL1 = size_BL1.square_().div_(x_BLD.shape[-1]).add_(EPSILON).rsqrt_()
    return x_BLD * inverse_BL1, inverse_BL1


def _norm_backward(dnormed_BLD: Tensor, normed_BLD: Tensor, inverse_BL1: Tensor) -> Tensor:
    along_BL1 = (dnormed_BLD * normed_BLD).mean(-1, keepdim=True)
    return torch.addcmul(dnormed_BLD, normed_BLD, along_BL1, value=-1).mul_(inverse_BL1)


def _tap(taps: Tensor, back: int) -> Tensor:
    return taps[:, -1 - back : taps.shape[1] - back]


def _to_row(x_BLD: Tensor, row: Tensor) -> Tensor:
    return x_BLD.sum(1, keepdim=True).sum_to_size(row.shape)


def _heads(x_BLD: Tensor, per_head_BLH: Tensor) -> Tensor:
    heads = per_head_BLH.shape[-1]
    return x_BLD.view(*x_BLD.shape[:-1], heads, x_BLD.shape[-1] // heads)
