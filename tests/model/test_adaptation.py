"""What a run tells devices about learning comes through the bundle unchanged; old bundles stay readable."""

import json

import pytest
from pydantic import ValidationError
from safetensors.torch import load_file, save_file

from pfsr.config import ModelConfig
from pfsr.data.catalog import Catalog
from pfsr.errors import PfsrError
from pfsr.model.adaptation import Adaptation
from pfsr.model.bundle import open_bundle, read_adaptation, save_bundle
from pfsr.model.encoder import init_weights
from pfsr.model.recommender import Recommender
from pfsr.recipe import resolve

SMALL = ModelConfig(d_model=8, heads=2, d_state=2, blocks=1)
CONFIG = resolve(
    {
        "seed": 7,
        "data": {"source": "my-private-place.csv"},
        "model": SMALL.model_dump(),
        "response": {"rate": 0.37, "mode": "hard"},
        "objective": {"negatives": 13},
        "federated": {"window": 41},
    }
)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "model.safetensors"


def model():
    return Recommender(SMALL, Catalog(("a", "b", "c")), init_weights(SMALL, 3, seed=3))


def test_a_bundle_keeps_how_to_adapt(path):
    adaptation = Adaptation.of(CONFIG, 12, [0.1, 1e-4, 1 / 3])
    save_bundle(model(), path, adaptation)
    assert open_bundle(path).catalog.ids == ("a", "b", "c")
    assert read_adaptation(path) == adaptation
    assert read_adaptation(path).spread[2] == 1 / 3
    assert b"my-private-place" not in path.read_bytes()


def test_the_configuration_comes_back_as_far_as_learning_goes():
    config = Adaptation.of(CONFIG, 12, [0.1]).config(SMALL)
    for part in ("seed", "model", "response", "objective", "federated"):
        assert getattr(config, part) == getattr(CONFIG, part)


def test_a_bundle_that_does_not_say_is_read_as_ever(path):
    save_bundle(model(), path)
    assert read_adaptation(path) is None
    assert open_bundle(path).catalog.ids == ("a", "b", "c")


@pytest.mark.parametrize(
    "told", ["", "{", '{"spread": []}', '{"spread": [-1]}', '{"spread": [1], "more": 1}']
)
def test_what_is_damaged_is_refused(path, tmp_path, told):
    save_bundle(model(), path)
    content = path.read_bytes()
    header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])["__metadata__"]
    save_file(load_file(path), tmp_path / "damaged", header | {"adaptation": told})
    with pytest.raises(PfsrError, match="how to adapt") as refused:
        read_adaptation(tmp_path / "damaged")
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("spread", [[], [0.0], [float("nan")], [float("inf")]])
def test_spreads_are_positive_and_finite(spread):
    with pytest.raises(ValidationError):
        Adaptation.of(CONFIG, 0, spread)
