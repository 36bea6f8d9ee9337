"""A run from its first round to its report, resumable at any instant."""

import time
from typing import Any, NamedTuple

from pfsr.baselines.central import Pooled
from pfsr.config import Config
from pfsr.data.dataset import Dataset
from pfsr.data.loading import load_config, whole_paths
from pfsr.data.split import split
from pfsr.errors import NotFiniteError, PfsrError
from pfsr.federated.cohort import eligible
from pfsr.federated.rounds import ServerState, first_state, make_broadcast, run_round
from pfsr.model.adaptation import Adaptation
from pfsr.model.bundle import open_bundle, save_bundle
from pfsr.model.recommender import Recommender
from pfsr.model.response import response_sites
from pfsr.recipe import resolve
from pfsr.runs.checkpoint import Progress, load_checkpoint, save_checkpoint
from pfsr.runs.facts import gather_facts, peak_memory_bytes
from pfsr.runs.folder import RunFolder, clear_run, read_json, write_json
from pfsr.runs.judging import Bench, judge, models, some_of
from pfsr.runs.remembering import Remembering
from pfsr.runs.rounds_log import forget_after, log_round, settle_log
from pfsr.runs.settling import settle
from pfsr.runs.watcher import Watcher
from pfsr.simulation.private_store import PrivateStore
from pfsr.simulation.simulator import Population, Simulator, one_thread_each

IN_MEMORY = "(in memory)"
"""The data source of a run that was trained on a table in memory."""


class Run(NamedTuple):
    """A run in progress or done: where it lies, what it learns from, how far it is.

    Attributes:
        remembering: the memory of pairs of its people.
    """

    folder: RunFolder
    config: Config
    bench: Bench
    store: PrivateStore
    trainer: Simulator | Pooled
    remembering: Remembering


def start_run(folder: RunFolder, config: Config, dataset: Dataset | None = None) -> Run:
    """Write down what a new run is made of; an earlier run in ``folder`` goes once this one can start.

    Raises:
        PfsrError: the data cannot be read, nobody has enough events to train on, or the place cannot be
            written.
    """
    bench = _bench(config, dataset or load_config(config.data))
    config = settle(config, bench)
    remembering = Remembering(bench, config)
    facts = gather_facts(bench, config) | remembering.facts()
    clear_run(folder)
    write_json(folder.facts, facts)
    write_json(folder.config, _findable(config).model_dump())
    return _assemble(folder, config, bench, remembering)


def reopen_run(folder: RunFolder, dataset: Dataset | None = None) -> Run:
    """Return the run that lies in ``folder``, as it was configured.

    Raises:
        PfsrError: its data is gone or has changed since.
    """
    config = resolve(read_json(folder.config), origin=str(folder.config))
    if config.data.source == IN_MEMORY and dataset is None:
        raise PfsrError(
            f"{folder.root}: trained on a table in memory; use pfsr.open_run(folder, data) in Python"
        )
    bench = _bench(config, dataset or load_config(config.data))
    before = read_json(folder.facts).get("split_hash")
    if bench.split.digest != before:
        raise PfsrError(
            f"{folder.root}: the data {config.data.source} has changed since this run started "
            f"(split {before}, now {bench.split.digest}); restore it or start a new run"
        )
    run = _assemble(folder, config, bench, Remembering(bench, config))
    if _checkpointed(folder):
        load_checkpoint(folder.checkpoints, run.store)
    return run


def open_finished(folder: RunFolder, dataset: Dataset | None = None) -> Run:
    """Return a run that is done, as :func:`reopen_run` does.

    Raises:
        PfsrError: it is not done, so its bundle and its private parameters do not belong together.
    """
    run = reopen_run(folder, dataset)
    if not _checkpointed(folder) or not load_checkpoint(folder.checkpoints, run.store)[1].adapted:
        raise PfsrError(f"{folder.root}: not finished; go on with pfsr train --resume {folder.root}")
    return run


@one_thread_each()
def train(run: Run, watcher: Watcher) -> Recommender:
    """Train until done, from the newest checkpoint if there is one; return the final model.

    Raises:
        Interrupted: the watcher was asked to stop; the run can be resumed.
        PfsrError: a round failed; the run can be resumed from its newest checkpoint.
    """
    state, progress = _where_it_stands(run)
    clients = eligible(run.bench.split.train_ends, run.config.federated.min_events)
    watcher.start(run.config.federated.rounds, progress.round)
    while not _finished(run.config, progress):
        began = time.perf_counter()
        state, report = run_round(state, clients, run.trainer, run.config)
        seconds = time.perf_counter() - began
        _refuse_divergence(state, run.config)
        progress = progress._replace(round=state.round, seconds=progress.seconds + seconds)
        look, progress = _look(run, state, progress)
        log_round(run.folder, report._asdict() | {"seconds": round(seconds, 4)} | look)
        watcher.round(report, seconds, look)
        stopping, finished = watcher.wants_to_stop(), _finished(run.config, progress)
        if stopping or finished or state.round % run.config.evaluation.checkpoint_every == 0:
            settle_log(run.folder)
            save_checkpoint(run.folder.checkpoints, state, run.store, progress)
        if stopping and not finished:
            raise Interrupted
    if not progress.adapted:
        _adapt(run, state, progress)
    return open_bundle(run.folder.best)


class Interrupted(Exception):  # noqa: N818 - a request that was met, not an error
    """The run was asked to stop and has; it can be resumed."""


def _findable(config: Config) -> Config:
    """Name files by their whole path, so that the run opens from any working directory."""
    return config.model_copy(update={"data": config.data.model_copy(update=whole_paths(config.data))})


def _bench(config: Config, dataset: Dataset) -> Bench:
    bench = Bench(dataset, split(dataset.sequences, config.data.split))
    if not len(eligible(bench.split.train_ends, config.federated.min_events)):
        raise PfsrError(
            f"nobody has {config.federated.min_events} training events; lower federated.min_events"
        )
    return bench


def _assemble(folder: RunFolder, config: Config, bench: Bench, remembering: Remembering) -> Run:
    sequences = bench.dataset.sequences
    store = PrivateStore(folder.private, len(sequences), response_sites(config.model).total)
    population = Population(sequences, bench.split.train_ends, store)
    trainer = Pooled(population, config) if config.training == "central" else Simulator(population, config)
    return Run(folder, config, bench, store, trainer, remembering)


def _where_it_stands(run: Run) -> tuple[ServerState, Progress]:
    if _checkpointed(run.folder):
        state, progress = load_checkpoint(run.folder.checkpoints, run.store)
    else:
        state, progress = first_state(run.config, len(run.bench.dataset.catalog)), Progress()
    forget_after(run.folder, progress.round)
    return state, progress


def _checkpointed(folder: RunFolder) -> bool:
    return any(folder.checkpoints.glob("round-*"))


def _finished(config: Config, progress: Progress) -> bool:
    patience = config.evaluation.patience
    return progress.round >= config.federated.rounds or 0 < patience <= progress.stale_looks


def _refuse_divergence(state: ServerState, config: Config) -> None:
    if not all(bool(weight.isfinite().all()) for weight in state.weights.values()):
        raise _diverged("the weights", state, config)


def _diverged(what: str, state: ServerState, config: Config) -> PfsrError:
    return PfsrError(
        f"round {state.round}: training diverged, {what} are not finite; "
        f"lower federated.server_rate (now {config.federated.server_rate:g})"
    )


def _look(run: Run, state: ServerState, progress: Progress) -> tuple[dict[str, Any], Progress]:
    """Judge the model when it is due; keep it as the best bundle when it is."""
    evaluation = run.config.evaluation
    if state.round % evaluation.every and state.round < run.config.federated.rounds:
        return {}, progress
    model = _model(run, state)
    targets = some_of(run.bench.split.validation, evaluation.people, run.config.seed)
    names = {"global": "validation", "personal": "validation_personal"}
    seen = (judge(run.bench, scorer, targets) for scorer in models(model, run.store, run.config))
    try:
        look = {names[one.name]: one.metrics() for one in seen}
    except NotFiniteError:
        raise _diverged("the scores", state, run.config) from None
    score = look.get("validation_personal", look["validation"])["NDCG@10"]
    if score <= progress.best_score and progress.best_round:
        return look, progress._replace(stale_looks=progress.stale_looks + 1)
    _save_best(run, model, state)
    return look, progress._replace(best_round=state.round, best_score=score, stale_looks=0)


def _adapt(run: Run, state: ServerState, progress: Progress) -> None:
    """Settle on the final model, and let everybody who has events adapt to it, as their devices would.

    Private offsets have grown together with the newest weights, so with them the newest model is final;
    without them the best one is.
    """
    if run.config.response.mode == "off":
        state = state._replace(weights=open_bundle(run.folder.best).weights)
    else:
        _save_best(run, _model(run, state), state)
        progress = progress._replace(best_round=state.round)
        run.trainer.adapt(make_broadcast(state, run.config), eligible(run.bench.split.train_ends, 2))
    # The facts first: a run whose checkpoint says that it is complete has them.
    facts = read_json(run.folder.facts)
    facts |= {"model_of_round": progress.best_round, "wall_seconds": round(progress.seconds, 1)}
    write_json(run.folder.facts, facts | {"peak_memory_bytes": peak_memory_bytes()})
    save_checkpoint(run.folder.checkpoints, state, run.store, progress._replace(adapted=True))


def _model(run: Run, state: ServerState) -> Recommender:
    return Recommender(run.config.model, run.bench.dataset.catalog, state.weights, run.remembering.memory)


def _save_best(run: Run, model: Recommender, state: ServerState) -> None:
    adaptation = Adaptation.of(run.config, state.round, state.spread_G.tolist())
    save_bundle(model, run.folder.best, adaptation)
