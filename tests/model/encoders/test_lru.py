"""The linear recurrent unit against its formula, event by event in complex NumPy."""

import numpy as np
import pytest
import torch

from pfsr.config import ModelConfig
from pfsr.model.amb import Weights
from pfsr.model.encoders.layers import layers
from pfsr.model.encoders.lru import LEAST_RADIUS, MOST_RADIUS, apply_lru, init_lru


@pytest.fixture(scope="module", params=[1, 2], ids=["d states", "2 d states"])
def config(request: pytest.FixtureRequest) -> ModelConfig:
    return ModelConfig(encoder="lrurec", d_model=16, expand=request.param, blocks=1)


def oracle(weights: Weights, x_Ld: np.ndarray) -> np.ndarray:
    w = {name: value.numpy() for name, value in weights.items()}
    states = len(w["nu_log"])
    into = (w["into"][:, :states] + 1j * w["into"][:, states:]).T
    out = (w["out"][:states] - 1j * w["out"][states:]).T
    eigenvalues = np.exp(-np.exp(w["nu_log"]) + 1j * np.exp(w["theta_log"]))
    state, added = np.zeros(states, dtype=complex), []
    for x_d in x_Ld:
        normed = (x_d - x_d.mean()) / np.sqrt(x_d.var() + 1e-5) * w["norm"] + w["norm_bias"]
        state = eigenvalues * state + np.exp(w["gamma_log"]) * (into @ normed)
        added.append((out @ state).real)
    return np.stack(added)


@pytest.mark.parametrize("length", [1, 2, 90])
def test_it_is_the_recurrence(config, weights_of, length):
    weights = layers(config)[0].own(weights_of(config))
    x_BLd = torch.randn(2, length, 16, generator=torch.Generator().manual_seed(length)).double()
    actual = apply_lru(weights, x_BLd, torch.ones(2, length, 1).double(), config)
    expected = np.stack([oracle(weights, x_Ld) for x_Ld in x_BLd.numpy()])
    np.testing.assert_allclose(actual.numpy(), expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("side", ["left", "right"])
def test_whatever_lies_at_padding_leaves_no_trace(config, weights_of, side):
    weights = layers(config)[0].own(weights_of(config))
    x_BLd = torch.randn(1, 20, 16, generator=torch.Generator().manual_seed(0)).double()
    real = slice(6, 20) if side == "left" else slice(0, 14)
    real_BL1 = torch.zeros(1, 20, 1).double()
    real_BL1[:, real] = 1
    actual = apply_lru(weights, x_BLd, real_BL1, config)[0, real]
    np.testing.assert_allclose(actual.numpy(), oracle(weights, x_BLd[0, real].numpy()), rtol=1e-9, atol=1e-9)


def test_fresh_eigenvalues_fill_a_ring_and_inputs_are_scaled_to_it():
    config = ModelConfig(encoder="lrurec", d_model=512)
    weights = {n: w.double() for n, w in init_lru(config, torch.Generator().manual_seed(0)).items()}
    radius, phase = torch.exp(-weights["nu_log"].exp()), weights["theta_log"].exp()
    assert LEAST_RADIUS <= float(radius.min()) < LEAST_RADIUS + 0.01
    assert MOST_RADIUS - 0.01 < float(radius.max()) <= MOST_RADIUS + 1e-6
    assert 0 < float(phase.min()) < 0.1
    assert 6.2 < float(phase.max()) <= 6.2832
    torch.testing.assert_close(weights["gamma_log"].exp() ** 2 + radius**2, torch.ones(512).double())
