"""A population of a million people on one machine: memory, seconds per round, disk.

Synthetic people with 12 events on average; every round trains a cohort of 256 against sampled negatives.
Rounds are measured in turn with those of a population a hundred times smaller: read the ratio to see whether
a round costs more because more people stand by (it should stay near 1). Peak resident memory is the whole
process's, making the population included (aim: under 6 GiB). The store of private parameters has room for
everybody but is sparse: only people who took part occupy disk.
"""

import tempfile
import time
from pathlib import Path
from typing import NamedTuple

from clients import Clients, everybody, simulator_of
from cyclopts import App
from measure import Cost, Job, interleave, middle, prepare, ratio, say, show

from pfsr.config import Config
from pfsr.data import large_population
from pfsr.federated.rounds import first_state, run_round
from pfsr.recipe import resolve
from pfsr.runs.facts import peak_memory_bytes
from pfsr.simulation.simulator import Simulator

app = App(help=__doc__)

GIB, MIB = 2**30, 2**20
BLOCK = 512
"""Bytes in the unit in which a file's place on disk is told."""
SMALLER = 100
"""How many times smaller the population beside it is."""
COLUMNS = ("people", "round s: wall", "cpu", "store MiB: apparent", "on disk", "people who took part")


class Crowd(NamedTuple):
    """A population that trains."""

    clients: Clients
    simulator: Simulator
    store: Path

    @property
    def people(self) -> int:
        """How many there are."""
        return len(self.clients.train_ends)


@app.default
def main(people: int = 1_000_000, *, items: int = 60_000, cohort: int = 256, rounds: int = 8) -> None:
    """Measure.

    Parameters
    ----------
    people
        Size of the large population.
    items
        Size of the catalogue.
    cohort
        Clients of a round.
    rounds
        Rounds timed, after one to warm up.
    """
    prepare()
    config = resolve({"federated": {"cohort": cohort}, "objective": {"loss": "sampled"}})
    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        crowds = [_crowd(size, items, config, Path(folder)) for size in (people, people // SMALLER)]
        say(f"populations made in {time.perf_counter() - began:.1f} s")
        large, small = interleave({str(c.people): _round(c) for c in crowds}, rounds).values()
        rows = [_row(crowd, middle(costs)) for crowd, costs in zip(crowds, (large, small), strict=True)]
    show(f"Rounds of {cohort} clients, {items:,} items", COLUMNS, rows)
    times = ratio(large, small)
    say(f"large / small population, a round: cpu {times.cpu:.2f}, wall {times.wall:.2f}")
    say(f"peak resident memory {peak_memory_bytes() / GIB:.2f} GiB")


def _crowd(people: int, items: int, config: Config, folder: Path) -> Crowd:
    clients = everybody(large_population(people, items))
    store = folder / f"{people}.f32"
    return Crowd(clients, simulator_of(clients, config, store), store)


def _round(crowd: Crowd) -> Job:
    state = first_state(crowd.simulator.config, crowd.clients.items)

    def job() -> None:
        nonlocal state
        state, _ = run_round(state, crowd.clients.rows, crowd.simulator, crowd.simulator.config)

    return job


def _row(crowd: Crowd, cost: Cost) -> list[str]:
    private = crowd.simulator.population.private
    people, rows = private.changed()
    private.fold(people, rows)
    file = crowd.store.stat()
    sizes = [f"{size / MIB:,.1f}" for size in (file.st_size, file.st_blocks * BLOCK)]
    return [f"{crowd.people:,}", f"{cost.wall:.3f}", f"{cost.cpu:.3f}", *sizes, f"{len(people):,}"]


if __name__ == "__main__":
    app()
