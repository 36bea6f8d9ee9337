"""One block against its formulas, written as loops over events and heads in float64 NumPy."""

import numpy as np
import pytest
import torch

from pfsr.config import ModelConfig
from pfsr.model.amb import Weights, apply_block, init_block, rms_norm
from pfsr.model.scan import MAX_DECAY


def block_of(weights: Weights, index: int = 0) -> Weights:
    prefix = f"blocks.{index}."
    return {n.removeprefix(prefix): w for n, w in weights.items() if n.startswith(prefix)}


def softplus(x):
    return np.log1p(np.exp(x))


def silu(x):
    return x / (1 + np.exp(-x))


def normed(x):
    return x / np.sqrt(np.mean(x**2) + 1e-6)


def one_block(block: Weights, x_Ld: np.ndarray, config: ModelConfig) -> np.ndarray:
    """Encode one client's events by the formulas of the block."""
    w = {name: value.numpy() for name, value in block.items()}
    flipped = config.view == "associative"
    inner, heads, n = config.d_model * config.expand, config.heads, config.d_state
    sizes = [inner, inner, n, n, n, heads, heads] if flipped else [inner, inner, n, n, heads]
    unbiased = heads * (2 if flipped else 1)
    bias = np.concatenate([np.zeros(inner), w["project_bias"], np.zeros(unbiased)])
    channels = inner // heads
    signals = [np.split(normed(x) * w["norm"] @ w["project"] + bias, np.cumsum(sizes)[:-1]) for x in x_Ld]
    total = [np.zeros(heads)]
    h, g = [np.zeros((heads, channels, n))], [np.zeros((heads, channels, n))]
    out = np.zeros_like(x_Ld)
    for t in range(1, len(x_Ld) + 1):
        _, z, b, cf, *cg, step = signals[t - 1][: 6 if flipped else 5]
        mixed = w["conv_bias"].copy()
        for back in range(min(config.d_conv, t)):
            mixed += w["conv"][config.d_conv - 1 - back] * signals[t - 1 - back][0]
        mixed = silu(mixed)
        delta = softplus(step + w["step_bias"])
        total.append(total[-1] - np.minimum(softplus(w["decay"]) * delta, MAX_DECAY))
        v = delta[:, None, None] * mixed.reshape(heads, channels)[:, :, None] * b
        h.append(np.exp(total[t] - total[t - 1])[:, None, None] * h[-1] + v)
        y = (h[t] @ cf).ravel()
        if flipped:
            gate = signals[t - 1][-1]
            eta, m = softplus(w["flip"]), max(t - config.horizon, 0)
            g.append(g[-1] + np.exp(eta * total[t - 1])[:, None, None] * v)
            s = h[t] + np.exp(total[t] - total[m])[:, None, None] * (g[m] - h[m])
            rho = np.repeat(1 / (1 + np.exp(-gate - w["gate_bias"])), channels)
            y = (1 - rho) * y + rho * normed((s @ cg[0]).ravel()) * w["flip_norm"]
        y = y + w["skip"] * mixed
        out[t - 1] = x_Ld[t - 1] + (y * silu(z)) @ w["out"] * w["out_scale"]
    return out


@pytest.mark.parametrize("length", [1, 2, 5, 45])
def test_a_block_is_its_formulas(config, weights_of, length):
    block = block_of(weights_of(config))
    x_BLd = torch.randn(2, length, 16, generator=torch.Generator().manual_seed(length)).double()
    actual = x_BLd + apply_block(block, x_BLd, torch.ones(2, length, 1).double(), config)
    expected = np.stack([one_block(block, x_Ld, config) for x_Ld in x_BLd.numpy()])
    np.testing.assert_allclose(actual.numpy(), expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("view", ["forward", "associative"])
def test_wider_inner_width_and_one_head_are_the_formulas_too(view):
    config = ModelConfig(d_model=16, expand=2, heads=1, d_state=2, d_conv=1, blocks=1, horizon=1, view=view)
    block = {n: w.double() for n, w in init_block(config, torch.Generator().manual_seed(0)).items()}
    x_BLd = torch.randn(1, 12, 16, generator=torch.Generator().manual_seed(1)).double()
    actual = x_BLd + apply_block(block, x_BLd, torch.ones(1, 12, 1).double(), config)
    expected = one_block(block, x_BLd[0].numpy(), config)
    np.testing.assert_allclose(actual[0].numpy(), expected, rtol=1e-9, atol=1e-9)


def test_fresh_heads_remember_four_to_two_hundred_events():
    config = ModelConfig(d_model=16, heads=4)
    block = init_block(config, torch.Generator().manual_seed(0))
    decay = softplus(block["decay"].numpy()) * softplus(block["step_bias"].numpy())
    np.testing.assert_allclose(1 / decay, np.geomspace(4, 200, 4), rtol=1e-4)


def test_a_decay_beyond_the_limit_is_held_at_the_limit(config, weights_of):
    block = block_of(weights_of(config))
    block |= {"step_bias": torch.full((2,), 8.0).double()}
    x_BLd = torch.randn(1, 20, 16, generator=torch.Generator().manual_seed(0)).double()
    actual = x_BLd + apply_block(block, x_BLd, torch.ones(1, 20, 1).double(), config)
    expected = one_block(block, x_BLd[0].numpy(), config)
    np.testing.assert_allclose(actual[0].numpy(), expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("side", ["left", "right"])
def test_whatever_lies_at_padding_leaves_no_trace(config, weights_of, side):
    block = block_of(weights_of(config))
    x_BLd = torch.randn(1, 20, 16, generator=torch.Generator().manual_seed(0)).double()
    real = slice(6, 20) if side == "left" else slice(0, 14)
    real_BL1 = torch.zeros(1, 20, 1).double()
    real_BL1[:, real] = 1
    padded = apply_block(block, x_BLd, real_BL1, config)[:, real]
    alone = apply_block(block, x_BLd[:, real], torch.ones(1, 14, 1).double(), config)
    torch.testing.assert_close(padded, alone, rtol=1e-12, atol=1e-12)


def test_shared_weights_get_the_sum_of_what_each_client_would(config, weights_of):
    shared = {name: w.requires_grad_() for name, w in block_of(weights_of(config)).items()}
    own = {name: w.detach().expand(3, *w.shape).requires_grad_() for name, w in shared.items()}
    random = torch.Generator().manual_seed(0)
    x_BLd, weight_BLd = torch.randn(2, 3, 30, 16, generator=random, dtype=torch.float64)
    real_BL1 = torch.ones(3, 30, 1).double()

    def gradients(weights: Weights) -> tuple[torch.Tensor, ...]:
        y_BLd = apply_block(weights, x_BLd, real_BL1, config)
        first = torch.autograd.grad(y_BLd, list(weights.values()), weight_BLd, retain_graph=True)
        again = torch.autograd.grad(y_BLd, list(weights.values()), weight_BLd)
        assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
        return first

    for total, each in zip(gradients(shared), gradients(own), strict=True):
        assert each.shape[0] == 3
        torch.testing.assert_close(total, each.sum(0), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("view", ["forward", "associative"])
def test_gradients_of_a_block_are_the_slopes(view):
    config = ModelConfig(d_model=4, heads=2, d_state=2, d_conv=2, blocks=1, horizon=2, view=view)
    block = {n: w.double() for n, w in init_block(config, torch.Generator().manual_seed(0)).items()}
    x_BLd = torch.randn(1, 5, 4, generator=torch.Generator().manual_seed(1)).double()

    def encode(x_BLd: torch.Tensor, *values: torch.Tensor) -> torch.Tensor:
        weights = dict(zip(block, values, strict=True))
        return apply_block(weights, x_BLd, torch.ones(1, 5, 1).double(), config)

    assert torch.autograd.gradcheck(
        encode, [p.requires_grad_() for p in (x_BLd, *block.values())], fast_mode=True
    )


def test_nobody_is_a_batch_too(config, weights_of):
    x_BLd = torch.zeros(0, 7, 16).double().requires_grad_()
    y_BLd = apply_block(block_of(weights_of(config)), x_BLd, torch.ones(0, 7, 1).double(), config)
    assert y_BLd.shape == torch.autograd.grad(y_BLd.sum(), x_BLd)[0].shape == (0, 7, 16)


def test_rms_norm_leaves_zero_alone_and_sets_the_size_of_the_rest():
    x = torch.tensor([[0.0, 0.0], [3.0, -3.0], [1e3, 1e3]])
    size = rms_norm(x).square().mean(-1).sqrt()
    torch.testing.assert_close(size, torch.tensor([0.0, 1.0, 1.0]))
