"""Latency of one more event, after short and long histories.

``Recommender.step`` takes in one event and scores the whole catalogue; what it remembers has one size, so
its latency should not depend on how much came before (aim: at most 1.3 times longer after 4,000 events
than after 50). Beside it, what it saves: ``Recommender.score`` encodes the whole history again.
One thread; histories measured in turn. Ratios are of medians, against the shortest history.
"""

from statistics import median, quantiles
from typing import Annotated

import numpy as np
from cyclopts import App, Parameter
from measure import Cost, Job, interleave, middle, prepare, show

from pfsr.config import ModelConfig
from pfsr.data import Catalog
from pfsr.model.encoder import init_weights
from pfsr.model.recommender import Recommender, State

app = App(help=__doc__)

LENGTHS = (50, 200, 1000, 4000)
VIEWS = ("forward", "associative")
COLUMNS = (
    "view, history",
    "step ms: median",
    "p99",
    "cpu",
    "ratio: wall",
    "cpu",
    "score() ms",
    "score / step",
)


@app.default
def main(
    lengths: Annotated[tuple[int, ...], Parameter(consume_multiple=True)] = LENGTHS,
    *,
    items: int = 3416,
    steps: int = 500,
    repeats: int = 5,
) -> None:
    """Measure.

    Parameters
    ----------
    lengths
        Events before the one that is timed, shortest first.
    items
        Size of the catalogue.
    steps
        Steps timed after each history.
    repeats
        Times each whole history is encoded again.
    """
    prepare()
    for view in VIEWS:
        model = _model(ModelConfig(view=view), items)
        history = np.random.default_rng(0).integers(1, items + 1, max(lengths) + 1)
        states = _states(model, history, lengths)
        stepped = interleave({str(n): _step(model, states[n], int(history[n])) for n in lengths}, steps, 10)
        whole = interleave({str(n): _score(model, history[:n]) for n in lengths}, repeats)
        shortest = middle(stepped[str(lengths[0])])
        rows = [_row(f"{view}, {n:,}", stepped[str(n)], whole[str(n)], shortest) for n in lengths]
        show(f"One more event, {items:,} items", COLUMNS, rows)


def _model(config: ModelConfig, items: int) -> Recommender:
    return Recommender(config, Catalog(tuple(range(1, items + 1))), init_weights(config, items, seed=0))


def _states(model: Recommender, history: np.ndarray, lengths: tuple[int, ...]) -> dict[int, State]:
    """Return the state after each of ``lengths`` events; stepping from one leaves it as it is."""
    state, found = model.start(), {}
    for count, item in enumerate(history[: max(lengths)], start=1):
        state, _ = model.step(state, int(item))
        if count in lengths:
            found[count] = state
    return found


def _step(model: Recommender, state: State, item: int) -> Job:
    return lambda: model.step(state, item)


def _score(model: Recommender, history: np.ndarray) -> Job:
    return lambda: model.score([history])


def _row(name: str, stepped: list[Cost], whole: list[Cost], shortest: Cost) -> list[str]:
    step, again = middle(stepped), median(cost.wall for cost in whole)
    slow = quantiles((cost.wall for cost in stepped), n=100)[-1] if len(stepped) > 1 else step.wall
    times = [f"{1000 * seconds:.3f}" for seconds in (step.wall, slow, step.cpu)]
    ratios = [f"{step.wall / shortest.wall:.2f}", f"{step.cpu / shortest.cpu:.2f}"]
    return [name, *times, *ratios, f"{1000 * again:.2f}", f"{again / step.wall:.1f}"]


if __name__ == "__main__":
    app()
