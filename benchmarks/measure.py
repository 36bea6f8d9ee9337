"""Timing shared by the benchmarks: interleaved repeats, processor and wall time, ratios of medians.

Rivals are measured turn by turn in one process, so that whatever else the machine does hits all of them.
Processor time (all threads of the process) is what to trust on a shared machine; wall time is what a
person waits.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from statistics import median
from typing import NamedTuple

import torch
from rich.console import Console
from rich.table import Table

from pfsr.simulation.allocator import keep_freed_memory

Job = Callable[[], object]
"""Something to be timed; what it returns is dropped."""


class Cost(NamedTuple):
    """What one run of a job took, in seconds."""

    wall: float
    cpu: float


def prepare() -> None:
    """Set the process up as ``pfsr train`` does: freed memory is kept, tensor operations use one thread."""
    keep_freed_memory()
    torch.set_num_threads(1)


def measure(job: Job) -> Cost:
    """Run a job once."""
    wall, cpu = time.perf_counter(), time.process_time()
    job()
    return Cost(time.perf_counter() - wall, time.process_time() - cpu)


def interleave(jobs: Mapping[str, Job], repeats: int, warmups: int = 1) -> dict[str, list[Cost]]:
    """Run every job in turn, ``repeats`` times after the warm-up, every other turn in reverse order."""
    for job in [*jobs.values()] * warmups:
        job()
    costs: dict[str, list[Cost]] = {name: [] for name in jobs}
    for turn in range(repeats):
        for name in reversed(list(jobs)) if turn % 2 else jobs:
            costs[name].append(measure(jobs[name]))
    return costs


def middle(costs: Sequence[Cost]) -> Cost:
    """Return the median wall and the median processor time."""
    return Cost(median(cost.wall for cost in costs), median(cost.cpu for cost in costs))


def ratio(slow: Sequence[Cost], fast: Sequence[Cost]) -> Cost:
    """Return the median over turns of slow / fast; turns are paired, so drift of the machine cancels."""
    pairs = list(zip(slow, fast, strict=True))
    return Cost(median(a.wall / b.wall for a, b in pairs), median(a.cpu / b.cpu for a, b in pairs))


def show(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table: first column to the left, numbers to the right."""
    table = Table(title=title, title_justify="left")
    for index, column in enumerate(columns):
        table.add_column(column, justify="right" if index else "left")
    for row in rows:
        table.add_row(*row)
    console = Console()
    Console(width=max(console.width, 110)).print(table)


def say(line: str) -> None:
    """Print one line as it is."""
    Console(soft_wrap=True).print(line, highlight=False, markup=False)
