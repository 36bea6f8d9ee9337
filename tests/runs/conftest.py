"""A small world in a file, and tiny runs over it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pfsr.config import Config
from pfsr.recipe import resolve
from pfsr.runs.folder import new_run
from pfsr.runs.train import Run, start_run, train
from pfsr.runs.watcher import Quiet

TINY: dict[str, Any] = {
    "name": "tiny",
    "data": {"core": 0},
    "model": {"d_model": 16, "d_state": 4, "heads": 2, "blocks": 1},
    "federated": {"rounds": 6, "cohort": 16, "window": 12, "server_rate": 1e-2, "warmup": 2},
    "response": {"rate": 0.5, "adapt_steps": 2},
    "evaluation": {"every": 2, "checkpoint_every": 3, "window": 20},
}

MakeConfig = Callable[..., Config]
MakeRun = Callable[..., Run]


@pytest.fixture(scope="session")
def world_csv(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a file of 40 people who walk over 30 items."""
    random = np.random.default_rng(0)
    lines = ["user_id,item_id,timestamp"]
    for person in range(40):
        item = int(random.integers(30))
        for event in range(int(random.integers(5, 20))):
            item = (item + int(random.choice([1, 1, 2, 7]))) % 30
            lines.append(f"u{person},i{item},{100 * event}")
    path = tmp_path_factory.mktemp("world") / "world.csv"
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.fixture(scope="session")
def make_config(world_csv: Path) -> MakeConfig:
    """Return a maker of tiny configurations; sections given are laid on top."""

    def make(**sections: Any) -> Config:
        settings = TINY | {"data": {"core": 0, "source": str(world_csv)}}
        return resolve(settings, sections)

    return make


@pytest.fixture
def make_run(tmp_path: Path, make_config: MakeConfig) -> MakeRun:
    """Return a maker of runs that have not trained yet."""

    def make(name: str = "run", **sections: Any) -> Run:
        return start_run(new_run(tmp_path / name, overwrite=False), make_config(**sections))

    return make


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory, make_config: MakeConfig) -> Run:
    """Return an uninterrupted run; tests read it and leave it as it is."""
    run = start_run(new_run(tmp_path_factory.mktemp("runs") / "finished", overwrite=False), make_config())
    train(run, Quiet())
    return run
