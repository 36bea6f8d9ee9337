"""SIGKILL at any instant leaves a run that resumes to the same bytes."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from pfsr.runs.folder import RunFolder, read_json, write_json
from pfsr.runs.rounds_log import read_metrics

DRIVER = Path(__file__).with_name("kill_driver.py")

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork and SIGKILL")


def result(folder: RunFolder) -> dict[str, Any]:
    (newest,) = folder.checkpoints.iterdir()
    facts = read_json(folder.facts)
    return {
        "checkpoint": newest.name,
        "server": (newest / "server.safetensors").read_bytes(),
        "best": folder.best.read_bytes(),
        "private": folder.private.read_bytes(),
        "facts": {key: facts[key] for key in ("split_hash", "model_of_round")},
        "metrics": [
            {key: value for key, value in line.items() if key != "seconds"} for line in read_metrics(folder)
        ],
    }


@pytest.fixture(scope="module")
def killed(finished, tmp_path_factory) -> dict[str, dict[str, Any]]:
    """Return the driver's report of every death, with the folder it left."""
    root = tmp_path_factory.mktemp("killed")
    write_json(root / "config.json", finished.config.model_dump())
    command = [sys.executable, str(DRIVER), str(root / "config.json"), str(root)]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    reports = [json.loads(line) for line in done.stdout.splitlines()]
    return {one["death"]: one | {"root": root / one["death"].replace(" ", "-")} for one in reports}


def test_the_driver_kills_at_every_kind_of_moment(killed):
    died = {name.split()[0] for name, one in killed.items() if one["ended"] == -9}
    assert {
        "save_file", "write_json", "sync", "rename", "fold", "save_bundle", "log", "rmtree", "adapt", "last"
    } <= died  # fmt: skip
    assert len([one for one in killed.values() if one["ended"] < 0]) > 30


def test_every_killed_run_resumes_to_the_same_bytes(killed, finished):
    expected = result(finished.folder)
    failed = [name for name, one in killed.items() if one["resumed"] != 0]
    assert failed == []
    different = {
        f"{name}: {part}"
        for name, one in killed.items()
        for part, value in result(RunFolder(one["root"])).items()
        if value != expected[part]
    }
    assert different == set()


def test_a_resumed_run_leaves_no_temporary_files_of_checkpoints(killed):
    assert [one for one in killed.values() for _ in (one["root"] / "checkpoints").glob(".*")] == []
