"""Small models without a fresh model's zeros and ones, and what one of them is exported as."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from pfsr.config import ModelConfig
from pfsr.data.catalog import Catalog
from pfsr.export.folder import export_model
from pfsr.model.encoder import init_weights
from pfsr.model.recommender import Recommender

ITEMS = 30
SMALL = {"d_model": 16, "heads": 2, "d_state": 4, "d_conv": 3, "horizon": 3, "blocks": 1}


@pytest.fixture(scope="session")
def model_of() -> Callable[..., Recommender]:
    """Return a maker of models: sizes of ``ModelConfig`` -> model of ITEMS items."""

    def build(**sizes) -> Recommender:
        config, random = ModelConfig(**SMALL | sizes), torch.Generator().manual_seed(1)
        fresh = init_weights(config, ITEMS, seed=0)
        moved = {name: w + 0.3 * torch.randn(w.shape, generator=random) for name, w in fresh.items()}
        moved["items"][0] = 0
        catalog = Catalog(tuple(f"item-{n}" for n in range(ITEMS)), [f"Title {n}" for n in range(ITEMS)])
        return Recommender(config, catalog, moved)

    return build


@pytest.fixture(scope="session")
def small(model_of) -> Recommender:
    return model_of()


@pytest.fixture(scope="session")
def exported(small, tmp_path_factory) -> Path:
    """Return the device model of ``small``; tests leave it as it is."""
    folder = tmp_path_factory.mktemp("exported") / "model"
    export_model(small, folder)
    return folder
