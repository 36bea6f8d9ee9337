from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from pfsr.config import ModelConfig
from pfsr.model.amb import Weights
from pfsr.model.encoder import init_weights

ITEMS = 9


@pytest.fixture(scope="session", params=["associative", "forward"])
def config(request: pytest.FixtureRequest) -> ModelConfig:
    return ModelConfig(
        d_model=16, heads=2, d_state=4, d_conv=3, blocks=2, horizon=3, view=request.param, dropout=0.0
    )


@pytest.fixture(scope="session")
def weights_of() -> Callable[..., Weights]:
    """Float64 weights that no longer hold the zeros and ones of a fresh model, for ITEMS items."""

    def build(config: ModelConfig, seed: int = 0) -> Weights:
        random = torch.Generator().manual_seed(seed + 1)

        def moved(weight: Tensor) -> Tensor:
            return weight.double() + 0.3 * torch.randn(weight.shape, generator=random, dtype=torch.float64)

        return {name: moved(weight) for name, weight in init_weights(config, ITEMS, seed).items()}

    return build


@pytest.fixture(scope="session")
def histories() -> Callable[..., Tensor]:
    """Rows of random items, int64 [batch, length]."""

    def draw(batch: int, length: int, seed: int = 0) -> Tensor:
        return torch.randint(1, ITEMS + 1, (batch, length), generator=torch.Generator().manual_seed(seed))

    return draw
