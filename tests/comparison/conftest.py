"""A small world and a recipe over it, for comparisons that take seconds."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pfsr.comparison.plan import Comparison, plan
from pfsr.recipe import merge

SETTINGS: dict[str, Any] = {
    "name": "tiny",
    "data": {"core": 0},
    "model": {"d_model": 16, "d_state": 4, "heads": 2, "blocks": 1},
    "federated": {"rounds": 6, "cohort": 16, "window": 12, "server_rate": 1e-2, "warmup": 2},
    "response": {"rate": 0.5, "adapt_steps": 2},
    "evaluation": {"every": 2, "checkpoint_every": 2, "window": 20},
}

Planned = Callable[..., Comparison]


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a file of 40 people who walk over 30 items; half of the last events are tied in time."""
    random = np.random.default_rng(3)
    lines = ["user_id,item_id,timestamp"]
    for person in range(40):
        item, events = int(random.integers(30)), int(random.integers(5, 20))
        for event in range(events):
            item = (item + int(random.choice([1, 1, 2, 7]))) % 30
            at = event - 1 if event == events - 1 and person % 2 else event
            lines.append(f"u{person},i{item},{100 * at}")
    path = tmp_path_factory.mktemp("world") / "world.csv"
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.fixture
def planned(world: Path, tmp_path: Path) -> Planned:
    """Return a maker of comparisons over the world; sections given are laid on top of the recipe."""

    def make(
        *names: str, seeds: tuple[int, ...] = (0,), rates: tuple[float, ...] = (1.0,), **sections: Any
    ) -> Comparison:
        settings = merge(merge(SETTINGS, {"data": {"source": str(world)}}), sections)
        return plan(settings, names, list(seeds), tmp_path / "out", "pfsr compare tiny.toml", rates)

    return make


@pytest.fixture
def own_method(tmp_path: Path) -> Callable[[str, str], Path]:
    """Return a writer of method files."""

    def write(name: str, text: str) -> Path:
        path = tmp_path / f"{name}.toml"
        path.write_text(text)
        return path

    return write
