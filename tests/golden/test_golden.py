"""Small recorded runs, one for each view of the past: training must go on giving the numbers it gave.

Recorded by ``python tests/golden/test_golden.py --record``; do that only for a change of the method that was
meant, and say so in the commit. Processors round differently, so the comparison has a tolerance.
"""

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pfsr.data import synthetic_world
from pfsr.evaluation.metrics import per_person
from pfsr.recipe import resolve
from pfsr.runs.folder import new_run
from pfsr.runs.rounds_log import read_metrics
from pfsr.runs.train import start_run, train
from pfsr.runs.watcher import Quiet

RECORD = Path(__file__).with_name("curve.json")
SETTINGS: dict[str, Any] = {
    "model": {"d_model": 16, "d_state": 4, "heads": 2, "dropout": 0.2},
    "federated": {"rounds": 15, "cohort": 24, "window": 20, "server_rate": 4e-2, "warmup": 2},
    "response": {"rate": 0.5},
    "evaluation": {"every": 5, "checkpoint_every": 15},
}


VIEWS = ("forward", "associative")


def curve(folder: Path, view: str) -> dict[str, Any]:
    """Train on a small synthetic world and return what is recorded of it."""
    config = resolve(SETTINGS, {"model": {"view": view}})
    run = start_run(new_run(folder, overwrite=False), config, synthetic_world(80, 60, seed=3))
    train(run, Quiet())
    lines = read_metrics(run.folder)
    looks = [
        {part: {name: line[part][name] for name in ("NDCG@10", "NLL")} for part in line if "valid" in part}
        for line in lines
        if "validation" in line
    ]
    return {"split": run.bench.split.digest, "losses": [line["loss"] for line in lines], "looks": looks}


@pytest.fixture(scope="module", params=VIEWS)
def curves(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[dict[str, Any], dict[str, Any]]:
    folder = tmp_path_factory.mktemp("golden") / "run"
    return curve(folder, request.param), json.loads(RECORD.read_text())[request.param]


def test_the_data_are_the_recorded_ones(curves):
    now, recorded = curves
    assert now["split"] == recorded["split"]


def test_the_losses_are_the_recorded_ones(curves):
    now, recorded = curves
    np.testing.assert_allclose(now["losses"], recorded["losses"], rtol=1e-3)


def test_the_looks_are_the_recorded_ones(curves):
    now, recorded = curves
    assert len(now["looks"]) == len(recorded["looks"]) == 3
    for found, expected in zip(now["looks"], recorded["looks"], strict=True):
        assert set(found) == set(expected) == {"validation", "validation_personal"}
        for part, metrics in expected.items():
            assert found[part]["NLL"] == pytest.approx(metrics["NLL"], rel=1e-3)
            # One person whose target swaps ranks 1 and 2 moves the mean by .37 / 80.
            assert found[part]["NDCG@10"] == pytest.approx(metrics["NDCG@10"], abs=0.01)


def test_the_recorded_run_learns(curves):
    _, recorded = curves
    assert recorded["losses"][-1] < recorded["losses"][0] - 0.1


@pytest.mark.parametrize(("rank", "ndcg"), [(1, 1.0), (2, 0.6309), (3, 0.5), (10, 0.2891), (11, 0.0)])
def test_ndcg_has_its_textbook_values(rank, ndcg):
    assert per_person(np.array([rank]))["NDCG@10"][0] == pytest.approx(ndcg, abs=5e-5)


if __name__ == "__main__" and "--record" in sys.argv:
    with tempfile.TemporaryDirectory() as place:
        found = {view: curve(Path(place) / view, view) for view in VIEWS}
    RECORD.write_text(json.dumps(found, indent=1) + "\n")
