"""A rate for every method: several tried alike, and the one that ranks the validation events best shown.

Methods differ in the rate that suits them, so at one rate for all the table says as much about the rate as
about the methods. A rate is tried as a factor of the method's own server rate: plain averages and Adam,
central and federated, need rates of different size. What starts from another method (ditto, scrambled
offsets) takes that one's; what has no server (rules, models alone on a device) has one cell.
"""

import math

import numpy as np

from pfsr.comparison.cell import Cell
from pfsr.errors import PfsrError


def parse_factors(text: str) -> list[float]:
    """Return the factors that ``0.5,1,2`` names.

    Raises:
        PfsrError: one is no number above 0.
    """
    try:
        factors = [float(part) for part in text.split(",") if part.strip()]
    except ValueError:
        factors = []
    if not factors or not all(0 < factor < math.inf for factor in factors):
        raise PfsrError(f"--rates {text!r}: give factors of every method's own server rate, e.g. 0.5,1,2")
    return sorted(set(factors))


def shown(cells: list[Cell]) -> list[Cell]:
    """Return the cells of every method at its best rate; of ``cells``, what another needs comes first."""
    best: dict[str, float] = {}
    for cell in cells:
        name = cell.method.name
        if name not in best:
            best[name] = best[cell.base.method.name] if cell.base else _best(name, cells)
    return [cell for cell in cells if cell.factor == best[cell.method.name]]


def _best(name: str, cells: list[Cell]) -> float:
    """Return the factor with the most finished seeds and, of those, the highest validation NDCG@10."""
    own = [cell for cell in cells if cell.method.name == name]
    factors = list(dict.fromkeys(cell.factor for cell in own))
    if len(factors) == 1:
        return factors[0]
    found = {factor: _validated([cell for cell in own if cell.factor == factor]) for factor in factors}
    return max(factors, key=lambda factor: (len(found[factor]), float(np.mean(found[factor] or [0.0]))))


def _validated(cells: list[Cell]) -> list[float]:
    results = [result for cell in cells if (result := cell.result())]
    return [one.metrics["validation"][one.own]["NDCG@10"] for one in results]
