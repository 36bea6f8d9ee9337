"""How long cells will take: two rounds and a few judged people of each, extrapolated.

``python -m pfsr.comparison.probe`` reads a JSON list of what is to be made from standard input and answers
with one JSON line each, ``{"seconds": ...}`` or ``{"failed": ...}``; nothing it writes is kept. It is a
process of its own so that its memory is returned.
"""

import json
import signal
import sys
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from pfsr.comparison.cell import MadeOf
from pfsr.comparison.finetuning import fine_tuned, fresh_model
from pfsr.config import Config
from pfsr.data.dataset import Dataset
from pfsr.data.loading import load_config
from pfsr.evaluation.scorer import Scorer
from pfsr.federated.cohort import eligible
from pfsr.federated.rounds import RoundReport
from pfsr.runs.folder import RunFolder
from pfsr.runs.judging import judge, models, some_of
from pfsr.runs.train import Interrupted, Run, start_run, train
from pfsr.runs.watcher import Quiet
from pfsr.simulation.allocator import keep_freed_memory

ROUNDS = 2
PEOPLE = 32


class StopsEarly(Quiet):
    """Times the first rounds, then stops the run."""

    def __init__(self) -> None:
        self.seconds: list[float] = []

    def round(self, report: RoundReport, seconds: float, look: dict[str, Any]) -> None:
        """Note how long it took."""
        self.seconds.append(seconds)

    def wants_to_stop(self) -> bool:
        """Stop after two rounds."""
        return len(self.seconds) >= ROUNDS


def probe(what: MadeOf, dataset: Dataset) -> float:
    """Return about how many seconds a cell will take, with its looks, its adaptation and its evaluation."""
    with TemporaryDirectory(prefix="pfsr-probe-") as place:
        run = start_run(RunFolder(Path(place)), _without_looks(what.config), dataset)
        judged = len(run.bench.split.validation) + len(run.bench.split.test)
        fresh = fresh_model(what.config, run.bench)
        if what.tuning is not None:
            return judged * _per_person(run, [fine_tuned(fresh, run.bench, what.config, what.tuning)])
        remembering = replace(fresh, memory=run.remembering.memory)
        scorers = list(models(remembering, run.store, run.config))
        if what.kind == "scrambled":
            return judged * _per_person(run, scorers[-1:])
        watcher = StopsEarly()
        with suppress(Interrupted):
            train(run, watcher)
        per_person = _per_person(run, scorers)
        rounds, looked = _training(run, what.config)
        return rounds * float(np.mean(watcher.seconds)) + (looked + judged) * per_person


def _without_looks(config: Config) -> Config:
    rounds = max(ROUNDS + 1, config.federated.rounds)
    federated = config.federated.model_copy(update={"rounds": rounds})
    evaluation = config.evaluation.model_copy(update={"every": rounds + 1})
    return config.model_copy(update={"federated": federated, "evaluation": evaluation})


def _per_person(run: Run, scorers: list[Scorer]) -> float:
    """Return how long one person's event takes to judge, in seconds."""
    targets = some_of(run.bench.split.test, PEOPLE, 0)
    began = time.perf_counter()
    for scorer in scorers:
        judge(run.bench, scorer, targets)
    return (time.perf_counter() - began) / len(targets)


def _training(run: Run, config: Config) -> tuple[float, int]:
    """Return the rounds to train, everybody's adaptation counted as rounds too, and the people looked at."""
    clients = eligible(run.bench.split.train_ends, config.federated.min_events)
    steps = 0 if config.response.mode == "off" else config.response.adapt_steps
    adapting = steps * len(clients) / min(config.federated.cohort, len(clients))
    looks = -(-config.federated.rounds // config.evaluation.every)
    looked = looks * min(config.evaluation.people, len(run.bench.split.validation))
    return config.federated.rounds + adapting, looked


def main() -> None:
    """Answer every question on standard input; SIGTERM ends it tidily, Ctrl-C is left to the parent."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    keep_freed_memory()
    wanted = [MadeOf.model_validate(one) for one in json.load(sys.stdin)]
    dataset = load_config(wanted[0].config.data)
    with suppress(Exception):  # the very first rounds of a process are slow
        probe(wanted[0], dataset)
    for what in wanted:
        try:
            answer: dict[str, Any] = {"seconds": probe(what, dataset)}
        except Exception as error:  # whatever stops a probe will stop its cell, which then tells it in full
            answer = {"failed": str(error) or type(error).__name__}
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
