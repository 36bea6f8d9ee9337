"""Clients per second of the batched simulator against the plain loop over clients.

Both run the same code on the same cohort with the same number of threads; they differ in how many clients
train as one batch (32, or 1). Columns: clients per second of either (wall time), then how many times longer
the plain loop takes, in processor time (to be trusted on a shared machine) and in wall time. The aim is 4
with one local step.

Cases: full cross-entropy over a catalogue like MovieLens-1M's, or sampled negatives over a large one;
private offsets off, on, or on in a round that looks at the Fisher information again; 1 or 3 local steps.
"""

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, NamedTuple

from clients import Clients, broadcast_of, clients_of_file, simulator_of, synthetic_clients
from cyclopts import App, Parameter
from measure import interleave, middle, prepare, ratio, say, show

from pfsr.config import Config
from pfsr.recipe import resolve
from pfsr.simulation.simulator import BATCH, available_cores

app = App(help=__doc__)

COLUMNS = ("case", "threads", "batched /s", "loop /s", "times: cpu", "wall")


class Case(NamedTuple):
    """What clients do: their loss, their response, their local steps, and in which round."""

    loss: str
    response: str
    steps: int
    round: int = 1

    @property
    def name(self) -> str:
        """Names the case in the table."""
        look = ", Fisher look" if self.round == 0 else ""
        return f"{self.loss}, response {self.response}{look}, {self.steps} local step{'s'[: self.steps - 1]}"


CASES = (
    Case("full", "off", 1),
    Case("full", "soft", 1),
    Case("full", "soft", 1, round=0),
    Case("full", "soft", 3),
    Case("sampled", "off", 1),
    Case("sampled", "soft", 1),
    Case("sampled", "soft", 3),
)


@Parameter(name="*")
@dataclass(frozen=True)
class Sizes:
    """How much is measured.

    Attributes:
        cohort: Clients that train in each measurement.
        window: Most recent events a client trains on.
        items: Catalogue of the cases with full cross-entropy.
        large: Catalogue of the cases with sampled negatives.
        repeats: Measurements of each case, after the warm-up.
    """

    cohort: int = 64
    window: int = 50
    items: int = 3416
    large: int = 60_000
    repeats: int = 5


@app.default
def main(data: Path | None = None, *, sizes: Annotated[Sizes, Parameter(name="*")] = Sizes()) -> None:
    """Measure.

    Parameters
    ----------
    data
        A file of events to draw the cohort from; without it a synthetic population.
    """
    prepare()
    catalogues = {"full": sizes.items, "sampled": sizes.large}
    if data is None:
        worlds = {loss: synthetic_clients(sizes.cohort, items) for loss, items in catalogues.items()}
    else:
        worlds = dict.fromkeys(catalogues, clients_of_file(data, sizes.cohort))
    for loss, clients in worlds.items():
        events = (clients.train_ends[clients.rows] - 1).clip(max=sizes.window).mean()
        say(f"{loss}: {clients.dataset.name}, {clients.items:,} items, {events:.1f} events a client")
    threads = sorted({1, available_cores()})
    rows = [_row(case, worlds[case.loss], sizes, n) for case in CASES for n in threads]
    show(f"Simulator: cohort {sizes.cohort}, window {sizes.window}, batches of {BATCH}", COLUMNS, rows)


def _row(case: Case, clients: Clients, sizes: Sizes, threads: int) -> list[str]:
    config = _config(case, sizes.window)
    broadcast = broadcast_of(config, clients.items, case.round)
    with tempfile.TemporaryDirectory() as folder:
        rivals = {
            batch: simulator_of(clients, config, Path(folder) / f"{batch}.f32", batch, threads)
            for batch in (BATCH, 1)
        }
        costs = interleave(
            {str(b): lambda s=s: s(broadcast, clients.rows) for b, s in rivals.items()}, sizes.repeats
        )
    batched, loop = costs[str(BATCH)], costs["1"]
    speed = [f"{len(clients.rows) / middle(one).wall:.0f}" for one in (batched, loop)]
    times = ratio(loop, batched)
    return [case.name, str(threads), *speed, f"{times.cpu:.2f}", f"{times.wall:.2f}"]


def _config(case: Case, window: int) -> Config:
    settings: dict[str, Any] = {
        "objective": {"loss": case.loss},
        "response": {"mode": case.response},
        "federated": {"window": window, "local_steps": case.steps},
    }
    return resolve(settings)


if __name__ == "__main__":
    app()
