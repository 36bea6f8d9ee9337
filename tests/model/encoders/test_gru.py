"""The gated recurrent unit against torch's own, in float64."""

import pytest
import torch
from torch import Tensor, nn

from pfsr.config import ModelConfig
from pfsr.model.amb import Weights
from pfsr.model.encoders.gru import apply_gru
from pfsr.model.encoders.layers import layers


@pytest.fixture(scope="module", params=[1, 2], ids=["width d", "width 2 d"])
def config(request: pytest.FixtureRequest) -> ModelConfig:
    return ModelConfig(encoder="gru4rec", d_model=16, expand=request.param, blocks=1)


def oracle(weights: Weights, x_BLd: Tensor, config: ModelConfig) -> Tensor:
    inner = 16 * config.expand
    norm = nn.LayerNorm(16, dtype=torch.float64)
    gru = nn.GRU(16, inner, batch_first=True, dtype=torch.float64)
    norm.load_state_dict({"weight": weights["norm"], "bias": weights["norm_bias"]})
    gru.load_state_dict(
        {
            "weight_ih_l0": weights["project"].T,
            "bias_ih_l0": weights["project_bias"],
            "weight_hh_l0": weights["state"].T,
            "bias_hh_l0": weights["state_bias"],
        }
    )
    states = gru(norm(x_BLd))[0].detach()
    return states @ weights["out"] + weights["out_bias"] if config.expand > 1 else states


@pytest.mark.parametrize("length", [1, 2, 60])
def test_it_is_torchs_gru(config, weights_of, length):
    weights = layers(config)[0].own(weights_of(config))
    x_BLd = torch.randn(3, length, 16, generator=torch.Generator().manual_seed(length)).double()
    actual = apply_gru(weights, x_BLd, torch.ones(3, length, 1).double(), config)
    torch.testing.assert_close(actual, oracle(weights, x_BLd, config), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("side", ["left", "right"])
def test_the_state_stands_still_at_padding(config, weights_of, side):
    weights = layers(config)[0].own(weights_of(config))
    x_BLd = torch.randn(1, 20, 16, generator=torch.Generator().manual_seed(0)).double()
    real = slice(6, 20) if side == "left" else slice(0, 14)
    real_BL1 = torch.zeros(1, 20, 1).double()
    real_BL1[:, real] = 1
    actual = apply_gru(weights, x_BLd, real_BL1, config)
    torch.testing.assert_close(actual[:, real], oracle(weights, x_BLd[:, real], config), rtol=1e-9, atol=1e-9)
    still = actual[:, :6] if side == "left" else actual[:, 13:]
    torch.testing.assert_close(still, still[:, :1].expand_as(still), rtol=0, atol=0)


def test_a_state_as_wide_as_the_stream_needs_no_map(weights_of):
    parts = {}
    for expand in (1, 2):
        config = ModelConfig(encoder="gru4rec", d_model=16, expand=expand, blocks=1)
        parts[expand] = set(layers(config)[0].own(weights_of(config)))
    assert parts[2] - parts[1] == {"out", "out_bias"}
