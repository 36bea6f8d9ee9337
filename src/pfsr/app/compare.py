"""``pfsr compare``: a table of methods on the same split, cell by cell."""

import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter, validators
from rich.console import Console
from rich.table import Table

from pfsr.app.place import Place
from pfsr.app.train import Given
from pfsr.comparison.conclude import report_path, results_path
from pfsr.comparison.cores import shares
from pfsr.comparison.estimate import Estimate, estimate, total
from pfsr.comparison.fill import Filled, fill
from pfsr.comparison.guard import guarded, refuse_file
from pfsr.comparison.plan import Comparison, parse_seeds
from pfsr.comparison.plan import plan as plan_comparison
from pfsr.comparison.rates import parse_factors
from pfsr.comparison.tables import methods_table
from pfsr.errors import PfsrError
from pfsr.evaluation.tables import Cell, duration
from pfsr.recipe import merge, read_recipe, resolve
from pfsr.runs.watcher import say
from pfsr.simulation.simulator import available_cores

PRINTED = {"method": False, "seeds": False, "HR@10": False, "NDCG@10": True, "NLL": False}
"""Columns of the results that fit a terminal, and whether with intervals; the files have them all."""


def compare(  # noqa: PLR0913 - a command line
    recipe: Path,
    *,
    methods: str | None = None,
    seeds: str = "1",
    rates: str | None = None,
    out: Place | None = None,
    data: Annotated[str | None, Parameter(name="--data", accepts_keys=False)] = None,
    processes: Annotated[int | None, Parameter(validator=validators.Number(gte=1))] = None,
    plan: Annotated[bool, Parameter(negative="")] = False,
    overwrite: Annotated[bool, Parameter(negative="")] = False,
    settings: Annotated[Given, Parameter(name="*")] = Given(),  # noqa: B008 - frozen
) -> None:
    """Compare methods on the same split: a table with intervals, slices and costs, and a report.

    Every method with every seed, at every rate, is a cell in a folder of its own. Cells that are done are
    kept, those that were stopped (Ctrl-C) go on where they stood when the same command is given again.

    Parameters
    ----------
    recipe
        A TOML file of settings, e.g. recipes/ml-1m.toml, which every method's own are laid over.
    methods
        Names, or TOML files of your own, separated by commas (default: all that ship with PFSR). One of your
        own is a rival like any other, unless it says ours = true.
    seeds
        How many (3), counted from the recipe's, or which (0,1,7).
    rates
        Factors of every method's own server rate to try, all of them named (0.5,1,2): so many times the work.
        Each method is shown at the one that ranks the validation events best. Rules and models alone on a
        device have no server rate and one cell. (default: 1)
    out
        The folder of the comparison (default: runs/compare-NAME).
    data
        Short for --data.source: a file, or a named source (synthetic, ml-100k, ml-1m).
    processes
        Cells made at a time (default: one per core).
    plan
        Only tell which cells there are and how long each will take (≤: it may stop before, when validation
        no longer improves).
    overwrite
        Make cells that lie in the folder with other settings anew, instead of refusing to lose them.
    """
    console = Console()
    given = settings.model_dump(exclude_unset=True)
    named = merge(read_recipe(recipe), merge(given, {"data": {"source": data}} if data else {}))
    config = resolve(named, origin=str(recipe))
    place = out or Path("runs") / f"compare-{config.name}"
    options = {
        "methods": methods,
        "seeds": seeds,
        "rates": rates,
        "out": str(place),
        "data": data,
    }
    command = shlex.join(["pfsr", "compare", str(recipe), *_flags(options), *_flags(given)])
    factors = parse_factors("1" if rates is None else rates)
    comparison = plan_comparison(
        named, _names(methods), parse_seeds(seeds, config.seed), place, command, factors
    )
    processes = processes or available_cores()
    if plan:
        refuse_file(place)
        _introduce(comparison, processes, console)
        return
    with guarded(comparison, overwrite):
        estimates = _introduce(comparison, processes, console)
        filled = fill(comparison, estimates, processes, console)
    _conclude(comparison, filled, console)


def _names(methods: str | None) -> list[str]:
    names = [name.strip() for name in (methods or "").split(",") if name.strip()]
    if methods is not None and not names:
        raise PfsrError(f"--methods {methods!r}: names none; leave it out for all that ship with PFSR")
    return names


def _flags(options: dict[str, Any], prefix: str = "--") -> Iterator[str]:
    """Yield the command line that says ``options``, nested ones as ``--section.name``."""
    for name, value in options.items():
        if isinstance(value, dict):
            yield from _flags(value, f"{prefix}{name}.")
        elif isinstance(value, bool):
            yield f"{prefix}{'' if value else 'no-'}{name.replace('_', '-')}"
        elif value is not None:
            yield from (f"{prefix}{name.replace('_', '-')}", str(value))


def _introduce(comparison: Comparison, processes: int, console: Console) -> list[Estimate]:
    facts = comparison.facts
    say(
        console,
        f"{facts['data']}: {facts['people']:,} people, {facts['items']:,} items, {facts['events']:,} events; "
        f"{facts['split']} split {facts['split_hash']}",
    )
    with console.status("timing two rounds of each method") as status:
        estimates = estimate(
            comparison.out, comparison.cells, shares(processes)[0],
            lambda done, of: status.update(f"timing two rounds of each method: {done} of {of}"),
        )  # fmt: skip
    console.print(_plan_table(comparison, estimates))
    for cell, one in zip(comparison.cells, estimates, strict=True):
        if one.failed:
            say(console, f"{cell.label}: cannot be timed: {one.failed}")
    left = duration(total(estimates, processes))
    say(console, f"left: about {left} with {processes} processes; folder {comparison.out}")
    return estimates


def _plan_table(comparison: Comparison, estimates: list[Estimate]) -> Table:
    table = Table(title="cells", title_justify="left")
    for name in ("method", "seed", "stands", "takes about", "left"):
        table.add_column(name, justify="left" if name in ("method", "stands") else "right")
    for cell, one in zip(comparison.cells, estimates, strict=True):
        seed = "–" if cell.method.kind == "rule" else str(cell.wanted.seed)
        most = "≤ " if not cell.result() and cell.wanted.made_of.config.evaluation.patience else ""
        takes = "?" if one.total is None else most + duration(one.total)
        left = "" if not one.left else "?" if one.total is None else duration(one.left)
        table.add_row(cell.title, seed, one.status, takes, left)
    return table


def _conclude(comparison: Comparison, filled: Filled, console: Console) -> None:
    if filled.ranked:
        console.print(_results(filled, comparison.tries_rates))
    say(console, f"results  {results_path(comparison)}\nreport   {report_path(comparison)}")
    if not filled.whole:
        say(console, "stopped; the same command goes on")
        raise SystemExit(130)
    if filled.failed:
        say(console, f"failed: {len(filled.failed)} of {len(comparison.cells)} cells; see above")
        raise SystemExit(1)


def _results(filled: Filled, rates: bool) -> Table:
    found = methods_table(filled.ranked)
    table = Table(title="test events", title_justify="left")
    against = next(name for name in found.columns if name.startswith("against"))
    wanted = PRINTED | {against: False} | ({"rate": False} if rates else {})
    if rates:  # what fits 80 columns
        del wanted["HR@10"]
    shown = {found.columns.index(name): small for name, small in wanted.items()}
    for index, small in shown.items():
        whole = small or not index
        table.add_column(found.columns[index], justify="right" if index else "left", no_wrap=whole)
    for row in found.rows:
        table.add_row(*(_told(row[index], small) for index, small in shown.items()))
    return table


def _told(cell: Cell, small: bool) -> str:
    text = f"[bold]{cell.text}[/]" if cell.strong else cell.text
    return f"{text} [dim]{cell.small}[/]" if small else text
