"""Personalized signal: what private parameters are worth on held-out events, person by person.

PG_u = NLL_u(a separately trained global model) - NLL_u(the method's personal model), in nats, on the test
events; both of the same seed, and a mean over the seeds for each person. A method with another encoder,
loss or budget (rounds trained) than the global model has no PG: it differs by more than what is private.
Nor has a model that a device trained alone, which has no part of the global one.
"""

from dataclasses import dataclass

import numpy as np

from pfsr.comparison.cell import Cell
from pfsr.comparison.plan import Comparison
from pfsr.config import FederatedConfig, ModelConfig, ObjectiveConfig
from pfsr.data.split import Targets
from pfsr.evaluation.intervals import bootstrap, paired_differences
from pfsr.evaluation.result import Evaluation
from pfsr.runs.judging import some_of

REFERENCE = "pfsr-no-response"
"""The separately trained global model: all of PFSR, the limits on movements too, but nothing private."""
PERSONALIZED = (
    *("pfsr", "pfsr-no-magnitude", "pfsr-prox", "pfsr-hard", "pfsr-scrambled"),
    *("fedper", "fedrep", "pfedrec", "ditto"),
)
"""The personalized methods that one expects to see, in the order of the table; others follow."""

BySeed = dict[int, np.ndarray]


@dataclass(frozen=True)
class Signal:
    """What one method's private parameters are worth, from the seeds that the reference has too.

    Attributes:
        method: its name.
        wanted: how many seeds were asked for.
        seeds: how many of them it shares with the reference.
        gain: seed -> PG of each person, float64 [people], nats; empty where the reference is another model.
        own_gain: seed -> the same against the run's own global model; empty where it has none.
        ndcg_gain: seed -> NDCG@10 of each person above the reference, where there is PG.
        retention: share of the gain kept without taking part (:func:`retention`); None: it cannot be told.
    """

    method: str
    wanted: int
    seeds: int
    gain: BySeed
    own_gain: BySeed
    ndcg_gain: BySeed
    retention: float | None


def signals(comparison: Comparison) -> list[Signal]:
    """Return the signal of every personalized method that shares a finished seed with the reference.

    Without the reference, that of every seed; it has no PG then.

    Raises:
        PfsrError: what a finished cell left is damaged, or belongs to other targets.
    """
    reference = {cell.wanted.seed: cell for cell in _finished(comparison, REFERENCE)}
    names = [method.name for method in comparison.methods]
    ordered = sorted(names, key=lambda name: (*PERSONALIZED, name).index(name))
    found = (_signal(comparison, name, reference) for name in ordered)
    return [one for one in found if one is not None]


def mean_over(by_seed: BySeed) -> np.ndarray:
    """Return each person's mean over the seeds, float64 [people]."""
    return np.mean(list(by_seed.values()), axis=0)


def retention(cells: list[Cell]) -> float | None:
    """Return which share of the gain over a run's own global model is kept without taking part.

    On the validation events of the people whom the run looked at while it trained, mean over the runs in
    ``cells``: the NLL gain in its last look, when private parameters are as old as each person's last
    participation, divided by the gain after everybody's final adaptation to that very model. None where
    there is no such look, or the divisor's 95 % interval is not above 0.
    """
    looks = [(cell, gain) for cell in cells if (gain := _last_look(cell)) is not None]
    if not looks:
        return None
    adapted = bootstrap(_adapted_gain([cell for cell, _ in looks]))
    return float(np.mean([gain for _, gain in looks])) / adapted.mean if adapted.low > 0 else None


def _signal(comparison: Comparison, name: str, reference: dict[int, Cell]) -> Signal | None:
    done = [cell for cell in _finished(comparison, name) if _is_personal(cell)]
    cells = [cell for cell in done if not reference or cell.wanted.seed in reference]
    if not cells:
        return None
    own, gains = {}, {}
    for cell in cells:
        seed, personal, apart = cell.wanted.seed, cell.evaluation(), reference.get(cell.wanted.seed)
        if apart and cell.method.kind != "local" and _shared_part(cell) == _shared_part(apart):
            gains[seed] = paired_differences(personal, apart.evaluation())
        shared = _own_global(cell)
        if shared is not None:
            own[seed] = paired_differences(personal, shared)["NLL"]
    gain, ndcg = ({seed: one[metric] for seed, one in gains.items()} for metric in ("NLL", "NDCG@10"))
    wanted = sum(cell.method.name == name for cell in comparison.cells)
    return Signal(name, wanted, len(cells), gain, own, ndcg, retention(cells))


def _shared_part(cell: Cell) -> tuple[ModelConfig, FederatedConfig, ObjectiveConfig, int, int]:
    """Return the encoder, the budget and the loss of a cell: what a person's gain needs to be equal."""
    config, found = cell.wanted.made_of.config, cell.result()
    how = {"local_rate": 1.0, "server_rate": 1.0, "proximal": 0.0}
    pull = {"magnitude": "off", "prox": 1.0, "clip_quantile": 0.5}
    return (
        config.model.model_copy(update={"sites": "response"}),
        config.federated.model_copy(update=how),
        config.objective.model_copy(update=pull),
        config.evaluation.window,
        found.cost.rounds if found else 0,
    )


def _finished(comparison: Comparison, name: str) -> list[Cell]:
    return [cell for cell in comparison.cells if cell.method.name == name and cell.result()]


def _is_personal(cell: Cell) -> bool:
    found = cell.result()
    return found is not None and found.own == "personal"


def _own_global(cell: Cell) -> Evaluation | None:
    """Return the test ranks of the global model inside a run, or inside the run that the cell starts from."""
    for one in (cell, cell.base):
        found = one.result() if one else None
        if one and found and "global" in found.metrics["test"]:
            return one.evaluation("test", "global")
    return None


def _last_look(cell: Cell) -> float | None:
    """Return the mean NLL gain of the personal model in a run's last look at the validation events."""
    if cell.method.kind != "run":
        return None
    looks = [line for line in cell.log() if "validation_personal" in line]
    return looks[-1]["validation"]["NLL"] - looks[-1]["validation_personal"]["NLL"] if looks else None


def _adapted_gain(cells: list[Cell]) -> np.ndarray:
    """Return the final validation gain of everybody looked at, mean over the looking runs, float64 [n]."""
    people = len(cells[0].evaluation("validation"))
    total, times = np.zeros(people), np.zeros(people)
    for cell in cells:
        personal, shared = (cell.evaluation("validation", name) for name in ("personal", "global"))
        rows = _looked_at(cell, people)
        total[rows] += paired_differences(personal, shared)["NLL"][rows]
        times[rows] += 1
    return total[times > 0] / times[times > 0]


def _looked_at(cell: Cell, people: int) -> np.ndarray:
    """Return the rows of the validation events that a run's looks have drawn."""
    config, rows = cell.wanted.made_of.config, np.arange(people)
    return some_of(Targets(rows, rows, rows), config.evaluation.people, config.seed).people
