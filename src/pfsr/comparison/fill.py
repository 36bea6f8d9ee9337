"""Fill the table: make the cells that are not done, tell how it goes, keep the results up to date."""

import time
from contextlib import suppress
from typing import NamedTuple

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from pfsr.comparison.cell import Cell, Part
from pfsr.comparison.conclude import Left, conclude
from pfsr.comparison.estimate import Estimate
from pfsr.comparison.plan import Comparison
from pfsr.comparison.pool import Pool, Running, share_done
from pfsr.comparison.standing import Standing
from pfsr.errors import PfsrError
from pfsr.evaluation.tables import duration
from pfsr.runs.folder import read_json
from pfsr.runs.watcher import say

WRITING = 0.05
"""Share of the time that may go into rewriting the results while cells are still being made."""


class Filled(NamedTuple):
    """How it ended.

    Attributes:
        ranked: how the methods stand.
        failed: why cells failed, by label.
        whole: it was not stopped before the end.
    """

    ranked: list[Standing]
    failed: dict[str, str]
    whole: bool


def fill(comparison: Comparison, estimates: list[Estimate], processes: int, console: Console) -> Filled:
    """Make what is missing in ``processes`` workers; results are written as cells end, and at the end.

    Raises:
        PfsrError: what a finished cell left is damaged (nothing is made then), or the results cannot be
            written.
        KeyboardInterrupt: Ctrl-C a second time; cells can be resumed even so.
    """
    missing = [cell for cell in comparison.cells if cell.result() is None]
    refuse_damage([cell for cell in comparison.cells if cell.result()])
    writer = Writer(comparison)
    with Bar(comparison, estimates, console) as bar:

        def ended(cell: Cell, failure: str | None) -> None:
            bar.tell(cell, failure)
            writer.cell_ended(pool)

        pool = Pool(missing, processes, ended)
        whole = pool.run(bar.follow)
    return Filled(writer.write(pool), pool.failed, whole)


def refuse_damage(finished: list[Cell]) -> None:
    """Read all that the results are made of: hours later would be late to find it damaged.

    Raises:
        PfsrError: ranks or rounds of a finished cell cannot be read.
    """
    for cell in finished:
        found = cell.result()
        for part, scorers in found.metrics.items() if found else ():
            for scorer in scorers:
                cell.evaluation(part, scorer)
        if cell.method.kind == "run":
            cell.log()
            read_json(cell.folder.facts)


class Writer:
    """Writes the results, not so often that it costs time."""

    def __init__(self, comparison: Comparison) -> None:
        self.comparison = comparison
        self._last, self._took = time.monotonic(), 0.0

    def cell_ended(self, pool: Pool) -> None:
        """Write the results if that is cheap."""
        if pool.waiting and time.monotonic() - self._last > self._took / WRITING:
            with suppress(PfsrError):  # no reason to stop the other cells; the last writing tells
                self.write(pool)

    def write(self, pool: Pool) -> list[Standing]:
        """Write the results; return how the methods stand."""
        began = time.monotonic()
        ranked = conclude(self.comparison, unfinished(self.comparison, pool.failed))
        self._last = time.monotonic()
        self._took = self._last - began
        return ranked


def unfinished(comparison: Comparison, failed: dict[str, str]) -> list[Left]:
    """Return the cells without a result, and how each stands."""
    left = [cell for cell in comparison.cells if cell.result() is None]
    return [Left(cell.label, _why_left(cell, failed)) for cell in left]


def _why_left(cell: Cell, failed: dict[str, str]) -> str:
    if cell.label in failed:
        return f"failed: {failed[cell.label]}"
    rounds = cell.rounds_done()
    return f"stopped after round {rounds:,}" if rounds else "not started"


class Bar:
    """One progress bar over the whole table, in seconds of work; a line for every cell that ends."""

    def __init__(self, comparison: Comparison, estimates: list[Estimate], console: Console) -> None:
        self.console = console
        self._seconds = {
            cell.label: max(one.left, 0.1) if one.status != "done" else 0.0
            for cell, one in zip(comparison.cells, estimates, strict=True)
        }
        self._at_first = {cell.label: share_done(cell) for cell in comparison.cells if cell.rounds_done()}
        # While rates are chosen, nobody is to choose by the test.
        self._told: Part = "validation" if comparison.tries_rates else "test"
        self._ended = {label for label, seconds in self._seconds.items() if not seconds}
        columns = (TextColumn("{task.fields[cells]} cells"), BarColumn(), TextColumn("left"))
        ending = (TimeRemainingColumn(), TextColumn("{task.fields[at_work]}"))
        self.bar = Progress(*columns, *ending, console=console, transient=True)
        total = sum(self._seconds.values())
        self._task = self.bar.add_task("cells", total=total, cells=self._cells(), at_work="")

    def __enter__(self) -> "Bar":
        self.bar.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self.bar.stop()

    def follow(self, running: list[Running]) -> None:
        """Show how far the workers are."""
        done = sum(self._seconds[label] for label in self._ended)
        done += sum(self._seconds[one.cell.label] * self._since(one.cell) for one in running)
        at_work = ", ".join(f"{one.cell.label} {share_done(one.cell):.0%}" for one in running)
        self.bar.update(self._task, completed=done, cells=self._cells(), at_work=at_work)

    def tell(self, cell: Cell, failure: str | None) -> None:
        """Print how a cell ended."""
        self._ended.add(cell.label)
        found = cell.result()
        if failure is not None or found is None:
            say(self.console, f"failed  {cell.label}: {failure}")
            return
        ndcg = found.metrics[self._told][found.own]["NDCG@10"]
        spent = duration(found.cost.train_seconds + found.cost.judge_seconds)
        say(self.console, f"done    {cell.label}: {self._told} NDCG@10 {ndcg:.4f}, {spent}")

    def _cells(self) -> str:
        return f"{len(self._ended)} of {len(self._seconds)}"

    def _since(self, cell: Cell) -> float:
        """Return how much of what was left of a cell at first is done by now."""
        first = self._at_first.get(cell.label, 0.0)
        return max(share_done(cell) - first, 0.0) / max(1 - first, 1e-9)
