"""Seconds of a training round against the floor that its matrix products set.

The recipe for MovieLens-1M: 256 clients, window 200, full cross-entropy over 3,416 items. The floor is
the FLOPs of the matrix products of real events (forward and backward, see flops.py), divided by the rate
at which this machine multiplies large float32 matrices on as many threads, measured in turn with the
rounds. The hand count is checked against torch's own counter on a batch without padding.

Read the last line of the second table: how many times the floor a round takes. A round is a whole one: the
cohort's local steps, private steps and Fisher information (every fourth round), sums, server step.
"""

import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from clients import Clients, broadcast_of, clients_of_file, simulator_of, synthetic_clients
from cyclopts import App
from flops import participation_flops
from measure import Cost, Job, interleave, middle, prepare, ratio, say, show
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from pfsr.config import Config
from pfsr.federated.batch import ClientBatch
from pfsr.federated.client import local_update
from pfsr.federated.partition import new_private
from pfsr.federated.rounds import first_state, run_round
from pfsr.model.response import response_sites
from pfsr.model.scan import CHUNK
from pfsr.recipe import resolve
from pfsr.simulation.simulator import Simulator, available_cores

app = App(help=__doc__)

SIDE, PRODUCTS = 1024, 8
"""The products whose rate is measured: SIDE x SIDE matrices, PRODUCTS a thread."""


class Count(NamedTuple):
    """FLOPs of one participation, by hand and by torch's counter."""

    hand: int
    torch: int


@app.default
def main(
    data: Path | None = None, *, cohort: int = 256, window: int = 200, items: int = 3416, cycles: int = 3
) -> None:
    """Measure.

    Parameters
    ----------
    data
        A file of events to draw the cohort from; without it a synthetic population.
    cohort
        Clients of a round.
    window
        Most recent events a client trains on.
    items
        Catalogue of the synthetic population.
    cycles
        Measurements, each of four rounds, one of which looks at the Fisher information.
    """
    prepare()
    clients = synthetic_clients(cohort, items) if data is None else clients_of_file(data, cohort)
    config = resolve({"federated": {"window": window, "cohort": cohort}, "objective": {"loss": "full"}})
    check_count(config, clients.items)
    parts = _needed(clients, config)
    total = sum(parts.values())
    rows = [[name, f"{flops / 1e9:.2f}", f"{flops / total:.1%}"] for name, flops in parts.items()]
    show("Matrix products of a round", ("part", "GFLOP", "share"), [*rows, ["all", f"{total / 1e9:.2f}", ""]])
    counts = [1] if available_cores() == 1 else [1, available_cores()]
    columns = ("threads", "GFLOP/s", "floor s", "round s", "clients/s", "round / floor: wall", "cpu")
    show("A round against its floor", columns, [_row(clients, config, total, n, cycles) for n in counts])


def check_count(config: Config, items: int) -> Count:
    """Compare the hand count with torch's counter on clients whose events fill whole chunks; say both."""
    events = 8 * CHUNK
    quiet = resolve(config.model_dump(), {"response": {"mode": "off"}, "federated": {"window": events}})
    batch = _full_batch(events, items)
    broadcast, sites = broadcast_of(quiet, items, 1), response_sites(quiet.model)
    with FlopCounterMode(display=False) as counter:
        local_update(broadcast, new_private(2, sites), batch, quiet, sites)
    hand = sum(participation_flops(events, items, quiet.model).values())
    count = Count(hand, counter.get_total_flops() // 2)
    say(
        f"{events} events of one client: {count.hand / 1e6:.1f} MFLOP by hand, "
        f"{count.torch / 1e6:.1f} by torch ({count.torch / count.hand:.4f})"
    )
    return count


def _full_batch(events: int, items: int) -> ClientBatch:
    """Return two clients of equal length, so that nothing is padded."""
    generator = torch.Generator().manual_seed(0)
    drawn: Tensor = torch.randint(1, items + 1, (2, events + 1), generator=generator)
    lengths = [events, events]
    nothing = [np.zeros(0, np.int64)] * 2
    return ClientBatch(drawn[:, :-1], drawn[:, 1:], lengths, torch.tensor(lengths).float(), [1, 2], nothing)


def _needed(clients: Clients, config: Config) -> dict[str, int]:
    events = (clients.train_ends[clients.rows] - 1).clip(max=config.federated.window)
    size = f"{len(events)} clients, {events.mean():.1f} events each, {clients.items:,} items"
    say(f"{clients.dataset.name}: {size}")
    return participation_flops(int(events.sum()), clients.items, config.model)


def _row(clients: Clients, config: Config, flops: int, threads: int, cycles: int) -> list[str]:
    every = config.response.fisher_every
    with tempfile.TemporaryDirectory() as folder:
        simulator = simulator_of(clients, config, Path(folder) / "private.f32", threads=threads)
        jobs = {"rounds": _rounds(simulator, clients, every), "products": _products(threads)}
        costs = interleave(jobs, cycles)
    rounds = [_scaled(cost, 1 / every) for cost in costs["rounds"]]
    multiplied = 2 * SIDE**3 * PRODUCTS * threads
    floors = [_scaled(cost, flops / multiplied) for cost in costs["products"]]
    floor, seconds, times = middle(floors).wall, middle(rounds).wall, ratio(rounds, floors)
    speeds = [
        f"{flops / floor / 1e9:.0f}",
        f"{floor:.3f}",
        f"{seconds:.3f}",
        f"{len(clients.rows) / seconds:.0f}",
    ]
    return [str(threads), *speeds, f"{times.wall:.2f}", f"{times.cpu:.2f}"]


def _scaled(cost: Cost, factor: float) -> Cost:
    return Cost(cost.wall * factor, cost.cpu * factor)


def _rounds(simulator: Simulator, clients: Clients, count: int) -> Job:
    """Return a job of ``count`` rounds in a row, in each of which the same cohort takes part."""
    state = first_state(simulator.config, clients.items)

    def job() -> None:
        nonlocal state
        for _ in range(count):
            state, _ = run_round(state, clients.rows, simulator, simulator.config)

    return job


def _products(threads: int) -> Job:
    """Return a job that multiplies matrices on ``threads`` threads, as the simulator uses them."""
    left, right = torch.rand(2, SIDE, SIDE)

    def multiply(_: int) -> None:
        for _ in range(PRODUCTS):
            torch.mm(left, right)

    def job() -> None:
        # A new thread starts with OpenMP's own number of threads, whatever the main thread was told.
        with ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            list(pool.map(multiply, range(threads)))

    return job


if __name__ == "__main__":
    app()
