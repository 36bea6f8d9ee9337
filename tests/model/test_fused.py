"""The fused parts of a block against the same formulas in plain tensor operations and torch's own layers."""

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from pfsr.model.fused import blend, causal_conv, gated, scaled_norm

CLIENTS, LENGTH, INNER, HEADS, WIDTH = 3, 5, 6, 2, 4
REAL = torch.tensor([[1.0, 1, 1, 1, 1], [0, 0, 1, 1, 1], [1, 1, 0, 0, 0]]).double()[..., None]

Form = Callable[..., Tensor]


def plain_norm(x: Tensor, row: Tensor) -> Tensor:
    return F.rms_norm(x, (INNER,), eps=1e-6) * row


def plain_conv(u: Tensor, taps: Tensor, bias: Tensor) -> Tensor:
    """One grouped convolution a client: torch's own layer, padded on the left."""
    rows = []
    for client in range(CLIENTS):
        kernel = taps[client % len(taps)].T[:, None]
        padded = F.pad((u[client] * REAL[client]).T[None], (WIDTH - 1, 0))
        rows.append(F.conv1d(padded, kernel, bias[client % len(bias), 0], groups=INNER)[0].T)
    return F.silu(torch.stack(rows))


def plain_blend(y: Tensor, flipped: Tensor, rho: Tensor, row: Tensor) -> Tensor:
    rho = rho.repeat_interleave(INNER // HEADS, -1)
    return (1 - rho) * y + rho * plain_norm(flipped, row)


def plain_gated(y: Tensor, mixed: Tensor, z: Tensor, row: Tensor) -> Tensor:
    return (y + row * mixed) * F.silu(z)


def fused_conv(u: Tensor, taps: Tensor, bias: Tensor) -> Tensor:
    return causal_conv(u * REAL[:, : u.shape[1]], taps, bias)


BLD, ROW = (CLIENTS, LENGTH, INNER), (-1, 1, INNER)
PARTS: dict[str, tuple[Form, Form, list[tuple[int, ...]]]] = {
    "norm": (scaled_norm, plain_norm, [BLD, ROW]),
    "conv": (fused_conv, plain_conv, [BLD, (-1, WIDTH, INNER), ROW]),
    "blend": (blend, plain_blend, [BLD, BLD, (CLIENTS, LENGTH, HEADS), ROW]),
    "gated": (gated, plain_gated, [BLD, BLD, BLD, ROW]),
}


def leaves_of(part: str, owners: int) -> list[Tensor]:
    random = torch.Generator().manual_seed(0)
    shapes = [tuple(owners if n < 0 else n for n in shape) for shape in PARTS[part][2]]
    return [torch.randn(*shape, generator=random, dtype=torch.float64).requires_grad_() for shape in shapes]


@pytest.mark.parametrize("owners", [1, CLIENTS], ids=["shared", "per client"])
@pytest.mark.parametrize("part", PARTS)
def test_values_and_gradients_are_those_of_plain_operations(part, owners):
    fused, plain, _ = PARTS[part]
    leaves = leaves_of(part, owners)
    actual, expected = fused(*leaves), plain(*leaves)
    torch.testing.assert_close(actual, expected, rtol=1e-12, atol=1e-12)
    weight = torch.randn(BLD, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    wanted = torch.autograd.grad(expected, leaves, weight)
    for _ in range(2):
        found = torch.autograd.grad(actual, leaves, weight, retain_graph=True)
        for rough, exact in zip(found, wanted, strict=True):
            torch.testing.assert_close(rough, exact, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("part", PARTS)
def test_gradients_are_the_slopes(part):
    assert torch.autograd.gradcheck(PARTS[part][0], leaves_of(part, CLIENTS))


def test_a_convolution_wider_than_the_history_is_its_newest_taps():
    u, taps, bias = leaves_of("conv", 1)
    short = fused_conv(u[:, :2], taps, bias)
    torch.testing.assert_close(short, fused_conv(u, taps, bias)[:, :2])
    short.sum().backward()
    assert taps.grad is not None
    assert float(taps.grad[0, : WIDTH - 2].abs().max()) == 0
