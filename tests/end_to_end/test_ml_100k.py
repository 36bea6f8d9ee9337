"""A much shortened run on real data already beats recommending what is popular."""

import os
from pathlib import Path

import pytest

from pfsr.recipe import read_recipe, resolve
from pfsr.runs.conclude import evaluate_run
from pfsr.runs.folder import new_run
from pfsr.runs.train import start_run, train
from pfsr.runs.watcher import Quiet

ROUNDS = 60
RECIPE = Path(__file__).parents[2] / "recipes" / "ml-100k.toml"
EVENTS = Path(os.environ.get("PFSR_DATA", "")) / "ml-100k.csv.gz"


@pytest.mark.skipif("PFSR_DATA" not in os.environ, reason="PFSR_DATA names no folder of data sets")
@pytest.mark.skipif(not EVENTS.is_file(), reason="PFSR_DATA holds no ml-100k.csv.gz")
@pytest.mark.skipif(not RECIPE.exists(), reason="no recipe for ML-100K")
def test_sixty_rounds_beat_popularity(tmp_path):
    shortened = {
        "data": {"source": str(EVENTS)},
        "federated": {"rounds": ROUNDS, "cohort": 64, "window": 50, "warmup": 10, "server_rate": 1e-2},
        "evaluation": {"every": ROUNDS, "checkpoint_every": ROUNDS, "window": 50},
    }
    run = start_run(new_run(tmp_path / "run", overwrite=False), resolve(read_recipe(RECIPE), shortened))
    train(run, Quiet())
    found = {one.name: one.metrics()["NDCG@10"] for one in evaluate_run(run, ["test"])["test"]}
    assert found["global"] > 1.1 * found["popularity"]
    assert found["personal"] > 1.1 * found["popularity"]
