"""The feed-forward network against torch's own modules, in float64."""

import pytest
import torch
from torch import nn

from pfsr.config import ModelConfig
from pfsr.model.encoders.ffn import apply_ffn, ffn_multiple, step_ffn
from pfsr.model.encoders.layers import layers

ENCODERS = ("amb", "sasrec", "gru4rec", "mamba4rec", "lrurec")


@pytest.mark.parametrize("encoder", ENCODERS)
def test_it_is_a_sequence_of_torchs_modules(weights_of, encoder):
    config = ModelConfig(encoder=encoder, d_model=16, ffn=3, blocks=1)
    weights = layers(config)[1].own(weights_of(config))
    activation = nn.ReLU() if encoder == "sasrec" else nn.GELU()
    modules = nn.Sequential(nn.LayerNorm(16), nn.Linear(16, 48), activation, nn.Linear(48, 16)).double()
    modules.load_state_dict(
        {
            "0.weight": weights["norm"],
            "0.bias": weights["norm_bias"],
            "1.weight": weights["up"].T,
            "1.bias": weights["up_bias"],
            "3.weight": weights["down"].T,
            "3.bias": weights["down_bias"],
        }
    )
    x_BLd = torch.randn(2, 9, 16, generator=torch.Generator().manual_seed(0)).double()
    expected = modules(x_BLd).detach()
    actual = apply_ffn(weights, x_BLd, torch.ones(2, 9, 1).double(), config)
    torch.testing.assert_close(actual, expected, rtol=1e-9, atol=1e-9)
    _, stepped = step_ffn(weights, None, x_BLd[:, 4:5], config)
    torch.testing.assert_close(stepped, expected[:, 4:5], rtol=1e-9, atol=1e-9)


def test_a_rival_has_the_width_of_its_paper_unless_told():
    usual = {encoder: ffn_multiple(ModelConfig(encoder=encoder)) for encoder in ENCODERS}
    assert usual == {"amb": 0, "sasrec": 1, "gru4rec": 0, "mamba4rec": 4, "lrurec": 4}
    assert all(ffn_multiple(ModelConfig(encoder=encoder, ffn=2)) == 2 for encoder in ENCODERS)
