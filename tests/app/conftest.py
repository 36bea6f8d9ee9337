"""A small world, its recipe, a trained run, and the command line called in this process."""

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

import pfsr.app.train
from pfsr.app.main import main

RECIPE = """
name = "tiny"
[data]
source = "{source}"
core = 0
[model]
d_model = 16
d_state = 4
heads = 2
blocks = 1
[federated]
rounds = 6
cohort = 16
window = 12
server_rate = 1e-2
[evaluation]
every = 2
checkpoint_every = 2
"""


class Told(NamedTuple):
    """How a command ended and what it said."""

    status: int
    out: str
    err: str


Pfsr = Callable[..., Told]


@pytest.fixture(scope="session", autouse=True)
def untouched_allocator() -> Iterator[None]:
    """Keep the command line from changing the memory allocator of the test process."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pfsr.app.train, "keep_freed_memory", lambda: False)
        yield


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a file of 40 people with integer-looking ids, and titles beside it."""
    random = np.random.default_rng(1)
    folder, lines = tmp_path_factory.mktemp("world"), ["user_id,item_id,timestamp"]
    for person in range(40):
        item = int(random.integers(30))
        for event in range(int(random.integers(6, 16))):
            item = (item + int(random.choice([1, 1, 2, 7]))) % 30
            lines.append(f"{person},{item + 100},{1000 * event + person}")
    (folder / "world.csv").write_text("\n".join(lines) + "\n")
    titles = "\n".join(f"{100 + item},Film [{item}]" for item in range(30))
    (folder / "world.items.csv").write_text(f"item_id,title\n{titles}\n")
    return folder / "world.csv"


@pytest.fixture(scope="session")
def recipe(world: Path) -> Path:
    """Return a recipe that trains on the world in a second."""
    path = world.parent / "tiny.toml"
    path.write_text(RECIPE.format(source=world))
    return path


@pytest.fixture
def pfsr_command(capsys: pytest.CaptureFixture[str]) -> Pfsr:
    """Return a caller of ``pfsr ARGUMENTS``."""

    def call(*arguments: object) -> Told:
        status = 0
        try:
            main([str(argument) for argument in arguments])
        except SystemExit as ended:
            assert isinstance(ended.code, int)
            status = ended.code
        captured = capsys.readouterr()
        return Told(status, captured.out, captured.err)

    return call


@pytest.fixture(scope="session")
def trained(recipe: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a finished run; tests leave it as it is."""
    folder = tmp_path_factory.mktemp("trained") / "run"
    with pytest.raises(SystemExit) as ended:
        main(["train", str(recipe), "--out", str(folder)])
    assert ended.value.code == 0
    return folder


@pytest.fixture
def run_copy(trained: Path, tmp_path: Path) -> Path:
    """Return a copy of the finished run to change."""
    return Path(shutil.copytree(trained, tmp_path / "copy"))


@pytest.fixture(autouse=True)
def somewhere(tmp_path: Path) -> Iterator[None]:
    """Work in an empty folder, since runs go to ``runs/`` by default."""
    before = Path.cwd()
    os.chdir(tmp_path)
    yield
    os.chdir(before)
