"""How sure a mean over people is, and whether one method really beats another.

The percentile bootstrap resamples people: n of them with replacement, 2,000 times, from a fixed seed.
"""

from dataclasses import dataclass

import numpy as np

from pfsr.errors import PfsrError
from pfsr.evaluation.result import Evaluation

LEVEL = 0.95
RESAMPLES = 2000
FEW = 256
"""Up to so many distinct values, a resample is one multinomial draw of how often each occurs."""


@dataclass(frozen=True)
class Interval:
    """A mean over people with its 95 % percentile-bootstrap interval."""

    mean: float
    low: float
    high: float


def bootstrap(values: np.ndarray, seed: int = 0) -> Interval:
    """Return the mean of ``values`` (float [n], one per person, n > 0) and its 95 % interval."""
    means = _resampled_means(values, np.random.default_rng(seed))
    tail = (1 - LEVEL) / 2
    low, high = np.quantile(means, [tail, 1 - tail])
    return Interval(float(np.mean(values)), float(low), float(high))


def _resampled_means(values: np.ndarray, random: np.random.Generator) -> np.ndarray:
    n = len(values)
    distinct, counts = np.unique(values, return_counts=True)
    if len(distinct) <= FEW:
        return random.multinomial(n, counts / n, RESAMPLES) @ distinct / n
    # One resample at a time: memory stays at n however many people there are.
    return np.array([values[random.integers(0, n, n)].mean() for _ in range(RESAMPLES)])


def metric_intervals(
    evaluation: Evaluation, members: np.ndarray | None = None, seed: int = 0
) -> dict[str, Interval]:
    """Return every metric of ``evaluation`` with its interval, over everybody or ``members`` (bool [n])."""
    chosen = slice(None) if members is None else members
    return {name: bootstrap(values[chosen], seed) for name, values in evaluation.per_person().items()}


def paired_differences(a: Evaluation, b: Evaluation) -> dict[str, np.ndarray]:
    """Return how much better ``a`` served each person than ``b``, float64 [n]: NDCG@10, HR@10, NLL.

    Positive always means that ``a`` is better: for NLL it is b's less a's.

    Raises:
        PfsrError: the two did not judge the same targets.
    """
    same = np.array_equal(a.people, b.people) and np.array_equal(a.history_lengths, b.history_lengths)
    if not same:
        raise PfsrError(f"{a.name} and {b.name} were judged on different targets; evaluate both on one split")
    ours, theirs = a.per_person(), b.per_person()
    return {
        "NDCG@10": ours["NDCG@10"] - theirs["NDCG@10"],
        "HR@10": ours["HR@10"] - theirs["HR@10"],
        "NLL": theirs["NLL"] - ours["NLL"],
    }


def paired_gain(
    a: Evaluation, b: Evaluation, members: np.ndarray | None = None, seed: int = 0
) -> dict[str, Interval]:
    """Return the mean of :func:`paired_differences` with its interval, over everybody or ``members``.

    Raises:
        PfsrError: the two did not judge the same targets.
    """
    chosen = slice(None) if members is None else members
    differences = paired_differences(a, b)
    return {name: bootstrap(values[chosen], seed) for name, values in differences.items()}
