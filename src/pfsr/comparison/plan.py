"""Which cells a comparison has, in the order in which they are made."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from pfsr.comparison.cell import Cell, MadeOf, Wanted, made_of, settled
from pfsr.comparison.method import BUILT_IN, Method, find_method
from pfsr.comparison.rates import at_best_rates
from pfsr.config import Config
from pfsr.data.loading import load_config, whole_paths
from pfsr.data.split import split
from pfsr.errors import PfsrError
from pfsr.recipe import merge, resolve
from pfsr.runs.facts import data_facts
from pfsr.runs.folder import RunFolder
from pfsr.runs.judging import Bench
from pfsr.runs.settling import settle

MOST_SEEDS = 1000


class Comparison(NamedTuple):
    """A table to be filled.

    Attributes:
        out: the folder it lies in.
        config: the recipe's own configuration.
        seeds: one column of cells each.
        facts: data and split, in the order a reader wants them; ``split_hash`` is shared by all cells.
        cells: in the order in which they are made: a cell comes after the one it needs.
        command: the shell line that makes it.
    """

    out: Path
    config: Config
    seeds: list[int]
    facts: dict[str, Any]
    cells: list[Cell]
    command: str

    @property
    def methods(self) -> list[Method]:
        """The methods, each once, in the order of their cells."""
        return list({cell.method.name: cell.method for cell in self.cells}.values())

    @property
    def tries_rates(self) -> bool:
        """Whether a method is made at another rate than its own."""
        return any(cell.factor != 1 for cell in self.cells)

    def at_best_rates(self) -> "Comparison":
        """Return the table of every method at the best of its rates that are done so far."""
        return self._replace(cells=at_best_rates(self.cells))


def plan(
    settings: dict[str, Any],
    names: Iterable[str],
    seeds: list[int],
    out: Path,
    command: str = "",
    factors: Sequence[float] = (1.0,),
) -> Comparison:
    """Return the comparison of the methods ``names`` (empty: all) under a recipe's ``settings``.

    Every method that has a server rate is made at each of the ``factors`` of it.

    Raises:
        PfsrError: a method or a setting is wrong, or the data cannot be read.
    """
    methods = _with_what_they_need([find_method(name) for name in names or BUILT_IN])
    given = resolve(settings)
    bench = _bench(given)
    config, facts = settle(given, bench), data_facts(bench.dataset, bench.split, given)
    settings = merge(settings, {"data": whole_paths(config.data), "model": {"dropout": config.model.dropout}})
    cells: dict[tuple[str, float, int], Cell] = {}
    for method, factor, seed in _combinations(methods, seeds, factors):
        base = cells[method.of, factor, seed] if method.of else None
        what = settled(made_of(method, settings, seed, base.method if base else None, factor), bench)
        _refuse_nothing_to_scramble(method, what)
        below = str(base.folder.root.resolve()) if base else None
        wanted = Wanted(method=method.name, seed=seed, made_of=what, split=facts["split_hash"], base=below)
        folder = _folder(out / "cells" / method.name, factor, seed)
        cells[method.name, factor, seed] = Cell(method, folder, wanted, base, factor)
    return Comparison(out, config, seeds, facts, list(cells.values()), command)


def _combinations(
    methods: list[Method], seeds: list[int], factors: Sequence[float]
) -> Iterator[tuple[Method, float, int]]:
    """Yield each cell's method, factor of its rate and seed; a rule has one cell."""
    for index, seed in enumerate(seeds):
        for method in methods:
            if method.kind == "rule" and index:
                continue
            for factor in (1.0,) if method.kind in ("rule", "local") else factors:
                yield method, factor, seed


def _folder(place: Path, factor: float, seed: int) -> RunFolder:
    return RunFolder((place if factor == 1 else place / f"rate-x{factor:g}") / f"seed-{seed}")


def parse_seeds(text: str, first: int) -> list[int]:
    """Return the seeds that ``3`` (how many, from ``first`` on) or ``0,1,7`` (which) names.

    Raises:
        PfsrError: it is neither.
    """
    parts = [part.strip() for part in text.split(",") if part.strip()]
    if not parts or not all(part.isascii() and part.isdigit() for part in parts):
        raise PfsrError(f"--seeds {text!r}: give how many (3) or which (0,1,7)")
    numbers = [int(part) for part in parts]
    if "," in text:
        return list(dict.fromkeys(numbers))
    if not 0 < numbers[0] <= MOST_SEEDS:
        raise PfsrError(f"--seeds {text}: needs at least one and at most {MOST_SEEDS:,}")
    return list(range(first, first + numbers[0]))


def _with_what_they_need(methods: list[Method]) -> list[Method]:
    """Put the method that another starts from before it, and add it where it is missing."""
    given = {method.name: method for method in methods}
    if len(given) < len(methods):
        names = [method.name for method in methods]
        twice = next(name for name in names if names.count(name) > 1)
        raise PfsrError(f"--methods: {twice} is there twice; a method is named by its file")
    ordered: dict[str, Method] = {}
    for method in methods:
        if method.of:
            below = _below(method, given)
            ordered.setdefault(below.name, below)
        ordered.setdefault(method.name, method)
    return list(ordered.values())


def _below(method: Method, given: dict[str, Method]) -> Method:
    """Return the method that another starts from: one of those ``given``, or one that ships with PFSR."""
    of = str(method.of)
    if of not in given and of not in BUILT_IN:
        raise PfsrError(
            f"method {method.name}: of = {of!r} is no method here; "
            "a file of your own goes into --methods too, and is named without .toml"
        )
    below = given.get(of) or find_method(of)
    if below.kind != "run":
        raise PfsrError(f"method {method.name}: of = {of!r} is no run and leaves no model to start from")
    return below


def _refuse_nothing_to_scramble(method: Method, what: MadeOf) -> None:
    if what.kind == "scrambled" and what.base and what.base.config.response.mode == "off":
        raise PfsrError(
            f"method {method.name}: {method.of} has nothing private to scramble with response.mode = 'off'; "
            "leave this method out, or that setting"
        )


def _bench(config: Config) -> Bench:
    dataset = load_config(config.data)
    return Bench(dataset, split(dataset.sequences, config.data.split))
