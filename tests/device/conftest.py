"""A person's folder, a look at all its bytes, and device models, each exported once: tracing is slow."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from pfsr.config import ModelConfig
from pfsr.data.catalog import Catalog
from pfsr.device.manifest import file_digest, model_version, read_manifest
from pfsr.device.store import Store
from pfsr.export.folder import export_model
from pfsr.model.encoder import init_weights
from pfsr.model.memory import PairMemory
from pfsr.model.recommender import Recommender

ITEMS = [f"item-{n}" for n in range(30)]
SMALL = {"d_model": 16, "heads": 2, "d_state": 4, "d_conv": 3, "horizon": 3, "blocks": 1}


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "person"


@pytest.fixture
def store(folder):
    with Store.open(folder) as opened:
        yield opened


@pytest.fixture
def all_bytes(folder):
    def read() -> bytes:
        return b"\0".join(file.read_bytes() for file in sorted(Path(folder).rglob("*")) if file.is_file())

    return read


def make_model(ids, seed, **sizes):
    config, random = ModelConfig(**SMALL | sizes), torch.Generator().manual_seed(seed)
    fresh = init_weights(config, len(ids), seed=0)
    weights = {name: w + 0.3 * torch.randn(w.shape, generator=random) for name, w in fresh.items()}
    weights["items"][0] = 0
    return Recommender(config, Catalog(tuple(ids), [f"Title of {i}" for i in ids]), weights)


def with_memory(model):
    """Return the model with every item calling the one seven rows on to mind, and the one before it."""
    firsts = np.repeat(np.arange(1, len(model.catalog) + 1), 2)
    following = np.where(np.arange(len(firsts)) % 2, firsts + 6, firsts - 2) % len(model.catalog) + 1
    counts = np.random.default_rng(0).uniform(0.5, 9, len(firsts)).astype(np.float32)
    starts = np.searchsorted(firsts, np.arange(len(model.catalog) + 2))
    totals = np.bincount(firsts, counts).astype(np.float32)
    pairs = PairMemory(starts, following.astype(np.int32), counts, totals, 0.5, 0.4)
    return Recommender(model.config, model.catalog, model.weights, pairs)


@pytest.fixture(scope="session")
def models():
    """Return models by name: the second has another catalogue, the third other sites, the last a memory."""
    return {
        "remembering": with_memory(make_model(ITEMS, 1)),
        "first": make_model(ITEMS, 1),
        "second": make_model([*ITEMS[:4], "new", *ITEMS[:3:-1]], 2),
        "other sites": make_model(ITEMS, 3, view="associative"),
    }


class Shelf(dict):
    """Device models by name, exported when first asked for."""

    def __init__(self, models, place):
        super().__init__()
        self.models, self.place = models, place

    def __missing__(self, name):
        export_model(self.models[name], self.place / name)
        self[name] = self.place / name
        return self[name]


@pytest.fixture(scope="session")
def exported(models, tmp_path_factory):
    """Return folders of device models by name; tests leave them as they are."""
    return Shelf(models, tmp_path_factory.mktemp("models"))


@pytest.fixture
def retold(exported, tmp_path):
    """Return a maker of copies of the first device model with another manifest or other item ids."""

    def copied(name="retold", ids=None, **changes):
        copy = shutil.copytree(exported["first"], tmp_path / name)
        if ids:
            (copy / "catalog.json").write_text(json.dumps(Catalog(tuple(ids)).to_json()))
            digests = read_manifest(exported["first"]).files
            changes["files"] = digests | {"catalog.json": file_digest(copy / "catalog.json")}
        form = json.loads((copy / "manifest.json").read_text()) | changes
        form["model_version"] = model_version(form, form["files"])
        (copy / "manifest.json").write_text(json.dumps(form))
        return copy

    return copied
