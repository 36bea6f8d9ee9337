"""Random sequences cannot be predicted: whoever does better than chance on held-out ones reads the future."""

import math
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from pfsr.config import ModelConfig
from pfsr.model import amb
from pfsr.model.amb import Weights
from pfsr.model.encoder import ITEM_BIAS, ITEMS, embed, encode, init_weights

CHOICES, LENGTH, PEOPLE, STEPS = 8, 25, 64, 50

Reader = Callable[[Weights, Tensor], Tensor]


@pytest.fixture(params=["associative", "forward"])
def config(request):
    return ModelConfig(d_model=16, heads=2, d_state=4, blocks=1, horizon=3, view=request.param)


def reads_future(read: Reader, config: ModelConfig) -> bool:
    """Train on i.i.d. uniform items; tell whether held-out loss is below log V by more than chance allows."""
    random = torch.Generator().manual_seed(0)
    train, held_out = (torch.randint(1, CHOICES + 1, (PEOPLE, LENGTH), generator=random) for _ in range(2))
    weights = {n: w.requires_grad_() for n, w in init_weights(config, CHOICES, 0).items()}
    optimizer = torch.optim.Adam(weights.values(), lr=0.02)
    for _ in range(STEPS):
        optimizer.zero_grad()
        losses(read, weights, train).mean().backward()
        optimizer.step()
    with torch.no_grad():
        loss, learnt = losses(read, weights, held_out), losses(read, weights, train).mean()
    assert float(learnt) < math.log(CHOICES), "nothing was learnt"
    return float(loss.mean() + 4 * loss.std() / math.sqrt(loss.numel())) < math.log(CHOICES)


def losses(read: Reader, weights: Weights, items_BL: Tensor) -> Tensor:
    query = read(weights, items_BL)
    logits = query @ weights[ITEMS][1:].T + weights[ITEM_BIAS][1:]
    return F.cross_entropy(logits.flatten(0, 1), items_BL[:, 1:].flatten() - 1, reduction="none")


def reader(config: ModelConfig, shift: int = 0) -> Reader:
    """Read each event, or (``shift`` 1) the event that is to be predicted."""

    def read(weights: Weights, items_BL: Tensor) -> Tensor:
        seen = items_BL[:, shift : items_BL.shape[1] - 1 + shift]
        return encode(weights, embed(weights[ITEMS], seen), seen > 0, config)

    return read


def centred_convolution(u_BLD: Tensor, weights: Weights) -> Tensor:
    """The block's convolution, its window moved by one event into the future."""
    width, length = weights["conv"].shape[0], u_BLD.shape[1]
    padded = F.pad(u_BLD, (0, 0, width - 2, 1))
    parts = [padded[:, k : k + length] * weights["conv"][k] for k in range(width)]
    return F.silu(torch.stack(parts).sum(0) + weights["conv_bias"])


def test_the_encoder_does_not_read_the_future(config):
    assert not reads_future(reader(config), config)


def test_shifted_input_is_caught(config):
    assert reads_future(reader(config, shift=1), config)


def test_convolution_that_reads_ahead_is_caught(config, monkeypatch):
    monkeypatch.setattr(amb, "_convolve", centred_convolution)
    assert reads_future(reader(config), config)
