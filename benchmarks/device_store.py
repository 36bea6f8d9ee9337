"""Durable events a second on a device, with group commit and with one commit an event, and what a sync costs.

An event counts once it is durable. ``group commit``: threads record as fast as they can and flush at the
end. ``wait for each``: a thread goes on once its event is durable; eight threads then share commits. ``one
commit an event``: plain SQLite with the store's settings and no group commit, one thread. ``fsync``: 4 kB
written and synced, nothing else; no store that keeps its word can make one thread wait for less. Opening and
closing are counted in. Aim: 2,000 durable events/s on one core with group commit.
"""

import os
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

from cyclopts import App
from measure import Cost, interleave, middle, prepare, show

from pfsr.device.records import Event, put_events
from pfsr.device.schema import close_database, open_database, transaction
from pfsr.device.store import Store

app = App(help=__doc__)

COLUMNS = ("how", "events", "events/s: wall", "of one core", "ms an event: wall", "processor")
Record = Callable[[Path, int], object]


@app.default
def main(*, events: int = 20_000, synced: int = 500, repeats: int = 5, folder: Path | None = None) -> None:
    """Measure.

    Parameters
    ----------
    events
        Events recorded in a run with group commit.
    synced
        Events recorded in a run where each one waits for the disk.
    repeats
        Turns, each with every way in it.
    folder
        On the disk to be measured; else the system's temporary folder.
    """
    prepare()
    ways: dict[str, tuple[Record, int]] = {
        "group commit, 1 thread": (lambda place, n: record(place, n, 1, False), events),
        "group commit, 8 threads": (lambda place, n: record(place, n, 8, False), events),
        "wait for each, 1 thread": (lambda place, n: record(place, n, 1, True), synced),
        "wait for each, 8 threads": (lambda place, n: record(place, n, 8, True), synced),
        "one commit an event": (commit_each, synced),
        "fsync of 4 kB": (sync_each, synced),
    }
    with tempfile.TemporaryDirectory(dir=folder) as top:
        jobs = {name: _job(way, count, Path(top)) for name, (way, count) in ways.items()}
        costs = interleave(jobs, repeats)
    rows = [_row(name, ways[name][1], middle(cost)) for name, cost in costs.items()]
    show("durable events", COLUMNS, rows)


def record(place: Path, events: int, threads: int, wait: bool) -> None:
    """Record through the store, and close it."""

    def one(thread: int) -> None:
        for n in range(thread, events, threads):
            event = store.append(f"item-{n % 3700}", 1_700_000_000_000 + n)
            if wait:
                store.wait(event.seq)

    with Store.open(place) as store, ThreadPoolExecutor(threads) as pool:
        list(pool.map(one, range(threads)))


def commit_each(place: Path, events: int) -> None:
    """Insert each event in a transaction of its own."""
    place.mkdir()
    with closing(open_database(place)) as database:
        for n in range(events):
            with transaction(database):
                put_events(database, [Event(n + 1, f"item-{n % 3700}", 1_700_000_000_000 + n)])
        close_database(database)


def sync_each(place: Path, events: int) -> None:
    """Append and sync 4 kB at a time."""
    with place.open("wb", buffering=0) as file:
        for _ in range(events):
            file.write(bytes(4096))
            os.fsync(file.fileno())


def _job(way: Record, events: int, top: Path) -> Callable[[], object]:
    return lambda: way(top / f"{len(list(top.iterdir()))}", events)


def _row(name: str, events: int, cost: Cost) -> tuple[str, ...]:
    rates = (f"{events / cost.wall:,.0f}", f"{events / cost.cpu:,.0f}")
    return (name, f"{events:,}", *rates, f"{1e3 * cost.wall / events:.3f}", f"{1e3 * cost.cpu / events:.4f}")


if __name__ == "__main__":
    app()
