"""Looks at a model on the held-out events: quick ones while it trains, a full one when it is done."""

from collections.abc import Iterator
from dataclasses import fields
from typing import NamedTuple

import numpy as np

from pfsr.baselines.markov import Markov
from pfsr.baselines.popularity import Popularity
from pfsr.config import Config
from pfsr.data.dataset import Dataset
from pfsr.data.split import Split, Targets
from pfsr.evaluation.evaluate import Evaluation, evaluate
from pfsr.evaluation.scorer import Scorer
from pfsr.federated.seeds import derive
from pfsr.model.recommender import Recommender
from pfsr.runs.scoring import ModelScorer
from pfsr.simulation.private_store import PrivateStore
from pfsr.simulation.simulator import available_cores, core_pool

BATCH = 64
"""People scored at once."""


class Bench(NamedTuple):
    """What methods are judged on: a data set, and what of it is held out."""

    dataset: Dataset
    split: Split


def judge(bench: Bench, scorer: Scorer, targets: Targets, mask_seen: bool = True) -> Evaluation:
    """Evaluate one method on ``targets``, on all cores."""
    sequences, ends, items = bench.dataset.sequences, bench.split.train_ends, len(bench.dataset.catalog)
    pieces = list(_pieces(targets, available_cores()))

    def work(piece: Targets) -> Evaluation:
        return evaluate(scorer, sequences, piece, ends, items=items, mask_seen=mask_seen, batch=BATCH)

    with core_pool(len(pieces)) as pool:
        return _joined(list(pool.map(work, pieces)))


def scorers(bench: Bench, model: Recommender, store: PrivateStore, config: Config) -> Iterator[Scorer]:
    """Yield what a finished run is compared by: two rules, the global model and the personal one."""
    sequences, ends, items = bench.dataset.sequences, bench.split.train_ends, len(bench.dataset.catalog)
    yield Popularity.fit(sequences, ends, items)
    yield Markov.fit(sequences, ends, items)
    yield from models(model, store, config)


def models(model: Recommender, store: PrivateStore, config: Config) -> Iterator[Scorer]:
    """Yield the global model, and the personal one unless the Variable Response Mechanism is off."""
    yield ModelScorer("global", model, config.evaluation.window)
    if config.response.mode != "off":
        yield ModelScorer("personal", model, config.evaluation.window, store)


def some_of(targets: Targets, people: int, seed: int) -> Targets:
    """Return a fixed sample of ``targets``, for looks that must not take longer than training."""
    if len(targets) <= people:
        return targets
    random = np.random.default_rng(derive(seed, "look"))
    return _take(targets, np.sort(random.choice(len(targets), people, replace=False)))


def _pieces(targets: Targets, count: int) -> Iterator[Targets]:
    for rows in np.array_split(np.arange(len(targets)), max(1, min(count, len(targets)))):
        yield _take(targets, rows)


def _take(targets: Targets, rows: np.ndarray) -> Targets:
    return Targets(targets.people[rows], targets.positions[rows], targets.items[rows])


def _joined(parts: list[Evaluation]) -> Evaluation:
    names = [field.name for field in fields(Evaluation) if field.name != "name"]
    return Evaluation(parts[0].name, *(np.concatenate([getattr(p, name) for p in parts]) for name in names))
