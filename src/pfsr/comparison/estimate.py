"""The time each cell will take: from its sister seeds that are done, else from a short probe."""

import hashlib
import json
import math
import subprocess
import sys
from collections.abc import Callable
from collections.abc import Set as AbstractSet
from contextlib import suppress
from pathlib import Path
from subprocess import DEVNULL, PIPE
from typing import NamedTuple

from pfsr.comparison.cell import Cell, MadeOf
from pfsr.comparison.cores import keep_to, quiet_libraries
from pfsr.comparison.guard import lost
from pfsr.errors import PfsrError
from pfsr.runs.folder import read_json, write_json

RULE_SECONDS = 1.0
UNKNOWN_SECONDS = 60.0
"""What a cell counts for in the progress bar when its probe failed."""


class Estimate(NamedTuple):
    """How a cell stands.

    Attributes:
        status: ``done``, ``to do`` or how far it is.
        total: seconds from nothing to done; None: its probe failed.
        left: seconds still to go.
        failed: why its probe failed.
    """

    status: str
    total: float | None
    left: float
    failed: str = ""


def estimate(
    out: Path, cells: list[Cell], cores: AbstractSet[int], told: Callable[[int, int], None]
) -> list[Estimate]:
    """Return how each cell stands; what probes find is kept in ``out/estimates.json``.

    Args:
        out: the comparison's folder.
        cells: all of them.
        cores: what a worker will run on.
        told: is called with (probes done, probes to do).

    Raises:
        PfsrError: the data cannot be read.
    """
    known = _kept(out) | {_key(cell.wanted.made_of): _spent(cell) for cell in cells if cell.result()}
    open_questions = {
        _key(cell.wanted.made_of): cell.wanted.made_of
        for cell in cells
        if cell.method.kind != "rule" and not cell.result()
    }
    asked = {key: what for key, what in open_questions.items() if key not in known}
    answers = dict(zip(asked, _ask(list(asked.values()), cores, told), strict=True))
    found = {key: float(answer["seconds"]) for key, answer in answers.items() if "seconds" in answer}
    if found:
        with suppress(PfsrError):  # known times are a convenience
            write_json(out / "estimates.json", _kept(out) | found)
    failed = {key: str(answer["failed"]) for key, answer in answers.items() if "failed" in answer}
    return [_stands(cell, known | found, failed) for cell in cells]


def total(estimates: list[Estimate], processes: int) -> float:
    """Return about how many seconds all cells take together, shared among ``processes``."""
    left = [one.left for one in estimates]
    return max(sum(left) / processes, max(left, default=0.0))


def _stands(cell: Cell, known: dict[str, float], failed: dict[str, str]) -> Estimate:
    if cell.method.kind == "rule":
        done = cell.result() is not None
        return Estimate("done" if done else "to do", RULE_SECONDS, 0.0 if done else RULE_SECONDS)
    key, rounds = _key(cell.wanted.made_of), cell.wanted.made_of.config.federated.rounds
    seconds = known.get(key)
    if cell.result():
        return Estimate("done", seconds, 0.0)
    done = cell.rounds_done()
    status = f"at round {done:,} of {rounds:,}" if done else _not_begun(cell)
    left = (UNKNOWN_SECONDS if seconds is None else seconds) * max(1 - done / rounds, 0.01)
    return Estimate(status, seconds, left, failed.get(key, ""))


def _not_begun(cell: Cell) -> str:
    return "anew: other settings" if lost(cell) else "to do"


def _spent(cell: Cell) -> float:
    """Return what a finished cell took; a look judges one part, the final evaluation two."""
    found = cell.result()
    if found is None:
        return 0.0
    cost = found.cost
    if cell.method.kind != "run":
        return cost.judge_seconds
    return cost.train_seconds + cost.judge_seconds * (1 + cost.looks / 2)


def _key(what: MadeOf) -> str:
    """Return the same text for the same work, whatever the seed and the rates."""
    federated = what.config.federated.model_copy(update={"server_rate": 1.0, "local_rate": 1.0})
    config = what.config.model_copy(update={"seed": 0, "federated": federated})
    unseeded = what.model_copy(update={"config": config})
    if what.base:
        unseeded = unseeded.model_copy(update={"base": None})
    return hashlib.sha256(unseeded.model_dump_json().encode()).hexdigest()[:16]


def _kept(out: Path) -> dict[str, float]:
    try:
        kept = {key: float(value) for key, value in read_json(out / "estimates.json").items()}
        return {key: value for key, value in kept.items() if 0 <= value < math.inf}
    except (PfsrError, TypeError, ValueError):
        return {}


def _ask(
    questions: list[MadeOf], cores: AbstractSet[int], told: Callable[[int, int], None]
) -> list[dict[str, str | float]]:
    """Return the prober's answers; the questions that its death leaves open count as failed."""
    if not questions:
        return []
    told(0, len(questions))
    command = [sys.executable, "-m", "pfsr.comparison.probe"]
    answers = []
    with subprocess.Popen(
        command, stdin=PIPE, stdout=PIPE, stderr=DEVNULL, env=quiet_libraries(), text=True
    ) as prober:
        keep_to(prober.pid, cores)
        assert prober.stdin is not None
        assert prober.stdout is not None
        prober.stdin.write(json.dumps([one.model_dump() for one in questions]))
        prober.stdin.close()
        try:
            for line in prober.stdout:
                answers.append(json.loads(line))
                told(len(answers), len(questions))
        except BaseException:
            prober.terminate()  # it clears its folder away
            raise
    return answers + [{"failed": "the probe died"}] * (len(questions) - len(answers))
