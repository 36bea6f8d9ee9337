"""How a method stands over all its finished seeds, person by person."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from pfsr.comparison.cell import CellResult, Cost
from pfsr.comparison.method import Method
from pfsr.comparison.plan import Comparison
from pfsr.errors import PfsrError
from pfsr.evaluation.intervals import Interval, bootstrap
from pfsr.evaluation.result import Evaluation

SHOWN = ("HR@10", "NDCG@10", "NLL")


@dataclass(frozen=True)
class Standing:
    """A method judged on the test events.

    A person's metric is its mean over the seeds, and intervals resample people: they say how sure the
    mean over people is for these seeds.

    Attributes:
        method: what it is.
        wanted: how many seeds were asked for.
        results: one per finished seed.
        evaluations: ranks per person, one per finished seed.
    """

    method: Method
    wanted: int
    results: list[CellResult]
    evaluations: list[Evaluation]

    @property
    def complete(self) -> bool:
        """Whether every seed is there."""
        return len(self.results) == self.wanted

    @property
    def trained(self) -> str:
        """Where it learns: rule, central, federated, alone, federated + copy, or control (nowhere)."""
        names = {"rule": "rule", "local": "alone", "ditto": "federated + copy", "scrambled": "control"}
        config = self.results[0].wanted.made_of.config
        return names.get(self.method.kind, config.training)

    @property
    def rate(self) -> float | None:
        """The server rate; None where there is none."""
        federated = self.results[0].wanted.made_of.config.federated
        return None if self.method.kind in ("rule", "local") else federated.server_rate

    @cached_property
    def per_person(self) -> dict[str, np.ndarray]:
        """Every person's mean over the seeds, float64 [people] under HR@10, NDCG@10 and NLL."""
        seeds = [one.per_person() for one in self.evaluations]
        return {name: np.mean([seed[name] for seed in seeds], axis=0) for name in SHOWN}

    @cached_property
    def intervals(self) -> dict[str, Interval]:
        """The mean over people of each shown metric, with its 95 % interval."""
        return {name: bootstrap(values) for name, values in self.per_person.items()}

    @cached_property
    def worst_decile(self) -> float:
        """NLL of the tenth of the people that this very method serves worst, mean over the seeds."""
        seeds = [one.slices()["worst decile"]["NLL"] for one in self.evaluations]
        return float(np.mean(seeds))

    def slices(self) -> dict[str, tuple[int, float]]:
        """Return the people of each slice of the data and the method's NDCG@10 on them."""
        ndcg = self.per_person["NDCG@10"]
        members = self.evaluations[0].shared_members()
        return {name: (int(who.sum()), float(ndcg[who].mean())) for name, who in members.items()}

    def gain(self, rival: "Standing") -> Interval | None:
        """Return how much more NDCG@10 this method gives each person than ``rival``, with its interval.

        Over the seeds that both have, for methods that draw at random; None where there is none.

        Raises:
            PfsrError: the two did not judge the same targets.
        """
        ours, theirs = self.evaluations[0], rival.evaluations[0]
        if not np.array_equal(ours.people, theirs.people):
            raise PfsrError(f"{self.method.name} and {rival.method.name} were judged on different targets")
        pair = (self, rival)
        random = [one.by_seed.keys() for one in pair if one.method.kind != "rule"]
        shared = set[int]().union(*random).intersection(*random)
        if random and not shared:
            return None
        mine, other = (_ndcg(one.of_seeds(shared)) for one in pair)
        return bootstrap(mine - other)

    @property
    def by_seed(self) -> dict[int, Evaluation]:
        """The ranks per person of each finished seed."""
        return {one.wanted.seed: ranks for one, ranks in zip(self.results, self.evaluations, strict=True)}

    def of_seeds(self, seeds: set[int]) -> list[Evaluation]:
        """Return the ranks of these seeds; a rule, which draws nothing at random, has the same for all."""
        if self.method.kind == "rule":
            return self.evaluations
        return [ranks for seed, ranks in self.by_seed.items() if seed in seeds]

    def cost(self) -> dict[str, float]:
        """Return what a seed took on average, under the names of :class:`~pfsr.comparison.cell.Cost`."""
        costs = [one.cost for one in self.results]
        return {name: float(np.mean([getattr(one, name) for one in costs])) for name in Cost.model_fields}


def standings(comparison: Comparison) -> list[Standing]:
    """Return the methods with a finished seed, the highest NDCG@10 first."""
    found = [_standing(comparison, method) for method in comparison.methods]
    return sorted(
        (one for one in found if one.results), key=lambda one: -float(one.per_person["NDCG@10"].mean())
    )


def best_rival(ranked: list[Standing]) -> Standing | None:
    """Return the first rival of ``ranked`` that has all its seeds, or else the first that has some.

    It is chosen on the very events it is compared on, so in its favour.
    """
    rivals = [one for one in ranked if not one.method.ours]
    return next((one for one in rivals if one.complete), rivals[0] if rivals else None)


def _ndcg(evaluations: list[Evaluation]) -> np.ndarray:
    return np.mean([one.per_person()["NDCG@10"] for one in evaluations], axis=0)


def _standing(comparison: Comparison, method: Method) -> Standing:
    cells = [cell for cell in comparison.cells if cell.method.name == method.name]
    done = [(result, cell.evaluation()) for cell in cells if (result := cell.result())]
    return Standing(method, len(cells), [result for result, _ in done], [found for _, found in done])
