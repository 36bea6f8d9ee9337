"""The installed program from start to finish, as a person runs it."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

RECIPE = """
name = "tiny"
[data]
source = "world.csv"
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
[evaluation]
every = 3
checkpoint_every = 2
"""

Program = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a recipe and its world, in which the program runs."""
    random = np.random.default_rng(2)
    folder, lines = tmp_path_factory.mktemp("home"), ["user_id,item_id,timestamp"]
    for person in range(40):
        item = int(random.integers(30))
        for event in range(int(random.integers(6, 16))):
            item = (item + int(random.choice([1, 1, 2, 7]))) % 30
            lines.append(f"u{person},i{item},{1000 * event + 7 * person}")
    (folder / "world.csv").write_text("\n".join(lines) + "\n")
    (folder / "tiny.toml").write_text(RECIPE)
    return folder


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "pfsr.app.main", *arguments]


@pytest.fixture(scope="module")
def program(home: Path) -> Program:
    """Return a caller of the program in ``home``."""

    def call(*arguments: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(command(*arguments), cwd=home, capture_output=True, text=True, check=False)

    return call


@pytest.fixture(scope="module")
def trained(program: Program, home: Path) -> Path:
    done = program("train", "tiny.toml", "--out", "whole")
    assert (done.returncode, done.stderr) == (0, "")
    assert "report   whole/report.html" in done.stdout
    return home / "whole"


def test_from_a_file_to_recommendations(trained, program):
    told = program("recommend", "whole", "--person", "u3", "-k", "3")
    assert (told.returncode, told.stderr) == (0, "")
    assert len(re.findall(r"^│ +[123] │ i\d+", told.stdout, re.MULTILINE)) == 3
    judged = program("evaluate", "whole", "--part", "test")
    assert (judged.returncode, judged.stderr) == (0, "")
    assert "personal gain" in judged.stdout


def test_the_script_is_installed():
    script = Path(sys.executable).with_name("pfsr")
    if not script.exists():
        pytest.skip("installed without scripts")
    done = subprocess.run([script, "--version"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    "arguments",
    [["train", "none.toml"], ["train", "tiny.toml", "--seed", "x"], ["data", "info", "tiny.toml"]],
    ids=" ".join,
)
def test_bad_input_ends_the_program_with_one_line(arguments, program, home):
    before = sorted(path.name for path in home.iterdir())
    done = program(*arguments)
    assert done.returncode in (1, 2)
    assert done.stderr.count("\n") == 1
    assert "Traceback" not in done.stderr
    assert done.stdout == ""
    assert sorted(path.name for path in home.iterdir()) == before


def lines_of(path: Path) -> int:
    return len(path.read_text().splitlines()) if path.exists() else 0


def start_and_wait(home: Path, out: str, rounds: int) -> "subprocess.Popen[str]":
    """Start a run of many rounds; return once ``rounds`` of them are done."""
    arguments = ["train", "tiny.toml", "--out", out, "--federated.rounds", "100000"]
    arguments += ["--evaluation.checkpoint-every", "1000000", "--evaluation.every", "1000000"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    running = subprocess.Popen(command(*arguments), cwd=home, **pipes)
    deadline = time.monotonic() + 120
    while lines_of(home / out / "metrics.jsonl") < rounds:
        assert running.poll() is None, running.stderr and running.stderr.read()
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return running


@pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda number: number.name)
def test_a_signal_stops_after_the_round_and_resume_completes(number, home, program):
    out = f"stopped-{number.name}"
    running = start_and_wait(home, out, rounds=2)
    running.send_signal(number)
    told, complaints = running.communicate(timeout=120)
    assert running.returncode == 130
    assert complaints == ""
    assert f"stopped; go on with: pfsr train --resume {out}" in told
    done = lines_of(home / out / "metrics.jsonl")
    config = home / out / "config.json"
    config.write_text(config.read_text().replace('"rounds": 100000', f'"rounds": {done + 2}'))
    resumed = program("train", "--resume", out)
    assert (resumed.returncode, resumed.stderr) == (0, "")
    assert lines_of(home / out / "metrics.jsonl") == done + 2


@pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
def test_a_reader_that_goes_away_is_no_traceback(home, trained):
    running = subprocess.Popen(
        command("data", "info", "world.csv"), cwd=home, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert running.stdout is not None
    assert running.stderr is not None
    running.stdout.close()
    complaints = running.stderr.read().decode()
    running.wait(timeout=120)
    running.stderr.close()
    assert "Traceback" not in complaints
