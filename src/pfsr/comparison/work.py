"""Make one cell: train or count, judge on both held-out parts, keep ranks per person and ``cell.json``."""

import time
from pathlib import Path

import numpy as np

from pfsr.baselines.markov import Markov
from pfsr.baselines.popularity import Popularity
from pfsr.comparison.cell import (
    CellResult,
    Cost,
    Metrics,
    Part,
    Wanted,
    evaluation_file,
    finished,
    result_file,
    resumable,
)
from pfsr.comparison.finetuning import fine_tuned, fresh_model
from pfsr.comparison.scrambling import scrambled
from pfsr.data.loading import load_config
from pfsr.data.split import split
from pfsr.errors import PfsrError
from pfsr.evaluation.scorer import Scorer
from pfsr.model.bundle import open_bundle
from pfsr.runs.facts import peak_memory_bytes
from pfsr.runs.folder import RunFolder, clear_run, read_json, write_json
from pfsr.runs.judging import Bench, judge, models
from pfsr.runs.rounds_log import read_metrics
from pfsr.runs.train import Interrupted, Run, reopen_run, start_run, train
from pfsr.runs.watcher import Watcher

PARTS: tuple[Part, ...] = ("validation", "test")


def make_cell(folder: RunFolder, wanted: Wanted, watcher: Watcher) -> None:
    """Make the cell in ``folder``, from where it stands; nothing is done when it is finished already.

    Raises:
        Interrupted: the watcher asked to stop; the cell can be resumed.
        PfsrError: the method cannot be made, or the data has changed.
    """
    if finished(folder, wanted):
        return
    result_file(folder).unlink(missing_ok=True)
    made = _make_run if wanted.made_of.kind == "run" else _make_at_once
    own, bench, methods, cost = made(folder, wanted, watcher)
    began, metrics = time.perf_counter(), _judged(folder, bench, methods, watcher)
    last = {"judge_seconds": time.perf_counter() - began, "peak_memory_bytes": peak_memory_bytes()}
    result = CellResult(wanted=wanted, own=own, metrics=metrics, cost=cost.model_copy(update=last))
    write_json(result_file(folder), result.model_dump())


def read_wanted(root: Path) -> Wanted:
    """Return what was asked for in the cell folder ``root``.

    Raises:
        PfsrError: nothing readable was.
    """
    return Wanted.model_validate(read_json(root / "wanted.json"))


class Stoppable:
    """Scores as ``scorer`` does, until the watcher asks to stop: fine-tuned copies can take hours."""

    def __init__(self, scorer: Scorer, watcher: Watcher) -> None:
        self.name = scorer.name
        self._scorer = scorer
        self._watcher = watcher

    def score(self, people: np.ndarray, histories: list[np.ndarray]) -> np.ndarray:
        """Return what ``scorer`` returns.

        Raises:
            Interrupted: the watcher asked to stop.
        """
        if self._watcher.wants_to_stop():
            raise Interrupted
        return self._scorer.score(people, histories)


Made = tuple[str, Bench, list[Scorer], Cost]


def _make_run(folder: RunFolder, wanted: Wanted, watcher: Watcher) -> Made:
    config = wanted.made_of.config
    run = reopen_run(folder) if resumable(folder, wanted) else start_run(folder, config)
    _refuse_other_data(run.bench, wanted)
    model = train(run, watcher)
    methods = list(models(model, run.store, config))
    return methods[-1].name, run.bench, methods, _run_cost(run)


def _make_at_once(folder: RunFolder, wanted: Wanted, watcher: Watcher) -> Made:
    """Make what does not train in rounds; it is judged in one go and starts again after an interruption."""
    clear_run(folder)
    cost = _base_cost(wanted)
    data = wanted.made_of.config.data
    dataset = load_config(data)
    bench = Bench(dataset, split(dataset.sequences, data.split))
    _refuse_other_data(bench, wanted)
    make = {"rule": _rule, "scrambled": _scrambled}.get(wanted.made_of.kind, _copies)
    scorer = make(bench, wanted)
    return scorer.name, bench, [scorer], cost


def _rule(bench: Bench, wanted: Wanted) -> Scorer:
    rule = {"popularity": Popularity, "markov": Markov}[wanted.made_of.rule or "popularity"]
    return rule.fit(bench.dataset.sequences, bench.split.train_ends, len(bench.dataset.catalog))


def _scrambled(bench: Bench, wanted: Wanted) -> Scorer:
    if not wanted.base:
        raise PfsrError(f"method {wanted.method}: scrambling needs of")
    return scrambled(RunFolder(Path(wanted.base)), bench.dataset)


def _copies(bench: Bench, wanted: Wanted) -> Scorer:
    what, tuning = wanted.made_of, wanted.made_of.tuning
    if tuning is None:
        raise PfsrError(f"method {wanted.method}: fine-tuning needs [tuning]")
    below = RunFolder(Path(wanted.base)) if wanted.base else None
    base = open_bundle(below.best) if below else fresh_model(what.config, bench)
    return fine_tuned(base, bench, what.config, tuning)


def _judged(
    folder: RunFolder, bench: Bench, methods: list[Scorer], watcher: Watcher
) -> dict[Part, dict[str, Metrics]]:
    metrics: dict[Part, dict[str, Metrics]] = {part: {} for part in PARTS}
    for part in PARTS:
        for scorer in methods:
            found = judge(bench, Stoppable(scorer, watcher), getattr(bench.split, part))
            found.save(evaluation_file(folder, part, scorer.name))
            metrics[part][scorer.name] = found.metrics()
    return metrics


def _run_cost(run: Run) -> Cost:
    """Add up the rounds, and the memory of pairs before them. Central training moves no model: what it takes
    from people is their history.
    """
    lines, people = read_metrics(run.folder), len(run.bench.dataset.sequences)
    facts = read_json(run.folder.facts)
    moved = run.config.training == "federated"

    def per_person(key: str) -> float:
        return sum(line[key] for line in lines) / people if moved else 0.0

    return Cost(
        rounds=len(lines),
        looks=sum("validation" in line for line in lines),
        participations=per_person("clients"),
        bytes_up=per_person("bytes_up") + moved * facts.get("pairs_sent_bytes", 0),
        bytes_down=per_person("bytes_down") + moved * facts.get("pairs_received_bytes", 0),
        train_seconds=facts["wall_seconds"],
    )


def _base_cost(wanted: Wanted) -> Cost:
    """Return what the finished cell below took: what starts from its model could not be without it."""
    if not wanted.base or not wanted.made_of.base:
        return Cost()
    below = wanted.model_copy(update={"made_of": wanted.made_of.base})
    found = finished(RunFolder(Path(wanted.base)), below)
    if found is None:
        raise PfsrError(f"{wanted.base}: not finished, so {wanted.method} has nothing to start from")
    return found.cost


def _refuse_other_data(bench: Bench, wanted: Wanted) -> None:
    if bench.split.digest != wanted.split:
        raise PfsrError(
            f"the data {wanted.made_of.config.data.source} has changed since the comparison began "
            f"(split {wanted.split}, now {bench.split.digest}); start the comparison again"
        )
