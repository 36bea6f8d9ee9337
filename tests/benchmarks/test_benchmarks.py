import importlib
import subprocess
import sys
from pathlib import Path

import pytest

from pfsr.comparison.cell import made_of
from pfsr.comparison.method import read_method
from pfsr.recipe import resolve

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
SCRIPTS = sorted(p.stem for p in BENCHMARKS.glob("*.py") if "@app.default" in p.read_text(encoding="utf-8"))
TINY = {
    "simulator": "--cohort 3 --window 6 --items 40 --large 600 --repeats 1",
    "floor": "--cohort 3 --window 6 --items 40 --cycles 1",
    "step_latency": "--lengths 2 5 --items 40 --steps 2 --repeats 1",
    "compute": "--lengths 4 30 --histories 3 20 --tokens 60 --repeats 1",
    "device_runtime": "--items 40 --lengths 2 5 --steps 3",
    "device_store": "--events 200 --synced 5 --repeats 1",
    "device_tables": "--rounds 2 --people 20",
    "million": "--people 300 --items 600 --cohort 3 --rounds 1",
}


def told(script: str, *arguments: str) -> str:
    command = [sys.executable, str(BENCHMARKS / f"{script}.py"), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_every_benchmark_is_run_and_tried_here():
    assert {*SCRIPTS} == {*TINY, "run_all"}
    assert all(f'"{name}"' in (BENCHMARKS / "run_all.py").read_text(encoding="utf-8") for name in TINY)


@pytest.mark.parametrize("script", SCRIPTS)
def test_help_says_what_is_measured(script):
    first = (BENCHMARKS / f"{script}.py").read_text(encoding="utf-8").split('"""')[1].splitlines()[0]
    assert first[:60] in told(script, "--help")


@pytest.mark.parametrize("script", TINY)
def test_a_tiny_run_ends_in_a_table(script):
    shown = told(script, *TINY[script].split())
    assert "│" in shown
    assert "nan" not in shown


def test_the_hand_count_of_flops_is_torchs(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    check_count = importlib.import_module("floor").check_count
    for view in ("associative", "forward"):
        sizes = {
            "d_model": 24,
            "expand": 2,
            "heads": 3,
            "d_state": 5,
            "blocks": 3,
            "horizon": 4,
            "view": view,
        }
        by_hand, by_torch = check_count(resolve({"model": sizes, "objective": {"loss": "full"}}), items=50)
        assert by_hand == by_torch


@pytest.mark.parametrize("path", sorted((BENCHMARKS / "frontier").glob("*.toml")), ids=lambda path: path.stem)
def test_a_method_of_the_frontier_fits_a_recipe_and_changes_its_cost(path):
    method, plain = read_method(path), resolve({"federated": {"rounds": 240, "cohort": 128}})
    config = made_of(method, {"federated": {"rounds": 240, "cohort": 128}}, 0, None).config
    costs = ("rounds", "cohort", "upload_bits", "download_bits", "local_steps")
    assert method.ours
    assert {
        name for name in costs if getattr(config.federated, name) != getattr(plain.federated, name)
    } == set(method.settings["federated"])
