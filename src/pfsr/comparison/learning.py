"""How methods improved while they trained: validation NDCG@10 against rounds and against traffic."""

from itertools import accumulate
from typing import Any, NamedTuple

import numpy as np

from pfsr.comparison.plan import Comparison
from pfsr.evaluation.content import traffic_before
from pfsr.runs.folder import read_json


class Curve(NamedTuple):
    """One method's looks at the validation events, mean over its finished seeds.

    Attributes:
        name: the method.
        rounds: after which rounds it was looked at.
        megabytes: what the average person has sent and received by then (1e6 bytes); empty: no traffic.
        ndcg: validation NDCG@10 of its own model.
    """

    name: str
    rounds: list[int]
    megabytes: list[float]
    ndcg: list[float]


def curves(comparison: Comparison) -> list[Curve]:
    """Return the curves of the methods with a finished run, of the looks that all its seeds have."""
    people = comparison.facts["people"]
    found = []
    for method in comparison.methods:
        cells = [one for one in comparison.cells if one.method.name == method.name and one.result()]
        if method.kind != "run" or not cells:
            continue
        central = cells[0].wanted.made_of.config.training == "central"
        seeds = [_looks(cell.log(), people, traffic_before(read_json(cell.folder.facts))) for cell in cells]
        common = sorted(set.intersection(*(set(seed) for seed in seeds)))
        moved, ndcg = (
            [float(np.mean([seed[at][part] for seed in seeds])) for at in common] for part in (0, 1)
        )
        found.append(Curve(method.name, common, [] if central else moved, ndcg))
    return found


def _looks(lines: list[dict[str, Any]], people: int, before: int) -> dict[int, tuple[float, float]]:
    """Return (megabytes a person has moved, NDCG@10) of each round that was looked at.

    ``before`` are bytes a person, for the memory of pairs.
    """
    moved = accumulate(line["bytes_up"] + line["bytes_down"] for line in lines)
    return {
        line["round"]: (
            (before + total / people) / 1e6,
            line.get("validation_personal", line["validation"])["NDCG@10"],
        )
        for line, total in zip(lines, moved, strict=True)
        if "validation" in line
    }
