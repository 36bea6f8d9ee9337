"""A rate for every method: several tried alike, and the one that ranks the validation events best shown.

Methods differ in the rate that suits them, so at one rate for all the table says as much about the rate as
about the methods. A rate is tried as a factor of the method's own server rate, because plain averages and
Adam, central and federated, need rates of different size; a plain average takes its local rate along. What
starts from another method (ditto, scrambled offsets) takes that one's. What has no server (rules, models
alone on a device) has one cell: it is not tuned here.
"""

import math
from collections.abc import Iterable

import numpy as np

from pfsr.comparison.cell import Cell
from pfsr.errors import PfsrError
from pfsr.evaluation.tables import Cell as Entry
from pfsr.evaluation.tables import Table

BySeed = dict[int, float]
"""Validation NDCG@10 of the method's own model, by seed."""


def parse_factors(text: str) -> list[float]:
    """Return the factors that ``0.5,1,2`` names, smallest first.

    Raises:
        PfsrError: one is no number above 0.
    """
    try:
        # Six digits: as many as names of cells have.
        factors = [float(f"{float(part):g}") for part in text.split(",") if part.strip()]
    except ValueError:
        factors = []
    if not factors or not all(0 < factor < math.inf for factor in factors):
        raise PfsrError(f"--rates {text!r}: give factors of every method's own server rate, e.g. 0.5,1,2")
    return sorted(set(factors))


def at_best_rates(cells: list[Cell]) -> list[Cell]:
    """Return the cells of every method at its best rate; of ``cells``, what another needs comes first."""
    best: dict[str, float] = {}
    for cell in cells:
        name = cell.method.name
        if name not in best:
            best[name] = best[cell.base.method.name] if cell.base else _best(_of(name, cells))
    return [cell for cell in cells if cell.factor == best[cell.method.name]]


def rates_table(cells: list[Cell]) -> Table | None:
    """Return what each rate of each method reached on the validation events; None where one was tried."""
    names = dict.fromkeys(cell.method.name for cell in cells if not cell.base)
    tried = {name: _of(name, cells) for name in names}
    several = {name: own for name, own in tried.items() if len({cell.factor for cell in own}) > 1}
    if not several:
        return None
    factors = sorted({cell.factor for own in several.values() for cell in own})
    columns = ["validation NDCG@10", *(f"rate x{factor:g}" for factor in factors)]
    return Table(columns, [[Entry(name), *_entries(own, factors)] for name, own in several.items()])


def _entries(own: list[Cell], factors: list[float]) -> Iterable[Entry]:
    best = _best(own)
    for factor in factors:
        cells = [cell for cell in own if cell.factor == factor]
        found = _validated(cells)
        partial = f"{len(found)} of {len(cells)} seeds" if len(found) < len(cells) else ""
        text = f"{np.mean(list(found.values())):.4f}" if found else "–"
        yield Entry(text, partial, strong=bool(found) and factor == best)


def _of(name: str, cells: list[Cell]) -> list[Cell]:
    return [cell for cell in cells if cell.method.name == name]


def _best(own: list[Cell]) -> float:
    """Return the factor with the highest validation NDCG@10, over the seeds that all those begun have."""
    factors = list(dict.fromkeys(cell.factor for cell in own))
    if len(factors) == 1:
        return factors[0]
    found = {factor: _validated([cell for cell in own if cell.factor == factor]) for factor in factors}
    begun = {factor: seeds for factor, seeds in found.items() if seeds}
    common = set.intersection(*map(set, begun.values())) if begun else set()
    if not common:
        return max(factors, key=lambda factor: len(found[factor]))
    return max(begun, key=lambda factor: float(np.mean([begun[factor][seed] for seed in common])))


def _validated(cells: list[Cell]) -> BySeed:
    done = {cell.wanted.seed: result for cell in cells if (result := cell.result())}
    return {seed: one.metrics["validation"][one.own]["NDCG@10"] for seed, one in done.items()}
