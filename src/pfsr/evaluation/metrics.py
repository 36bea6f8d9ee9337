"""Full-ranking metrics for one held-out item per person.

Every rank is taken against the whole catalogue, never against a sample of it, and every doubt counts
against the model: ties rank the target last, and a score that is not a number is refused. (A NaN
compares false with everything, so a rank that only counts greater scores would be 1.)
"""

import numpy as np

from pfsr.errors import PfsrError

CUTOFFS = (5, 10, 20)
DIVERGED = "scores hold NaN or infinity, so there is no ranking; training diverged: lower the learning rate"


def target_ranks(scores: np.ndarray, targets: np.ndarray, seen: list[np.ndarray] | None = None) -> np.ndarray:
    """Return the rank of each target, 1 = best: 1 + items scored higher + other items scored the same.

    Args:
        scores: float [n, items + 1]; column 0 (padding) is ignored.
        targets: int [n], catalogue rows; a target competes even where it is in ``seen``.
        seen: n arrays of catalogue rows that may not compete (None: all compete).

    Returns:
        int64 [n].

    Raises:
        PfsrError: a competing item's score is not finite.
    """
    competing = _competing(scores, targets, seen)
    if not np.isfinite(scores[competing]).all():
        raise PfsrError(DIVERGED)
    own = scores[np.arange(len(scores)), targets]
    return (competing & (scores >= own[:, None])).sum(axis=1)


def target_nll(scores: np.ndarray, targets: np.ndarray, seen: list[np.ndarray] | None = None) -> np.ndarray:
    """Return ``-log softmax(scores)[target]`` over the items that compete, as in :func:`target_ranks`.

    Args:
        scores: float [n, items + 1]; column 0 (padding) is ignored.
        targets: int [n], catalogue rows; a target competes even where it is in ``seen``.
        seen: n arrays of catalogue rows that may not compete (None: all compete).

    Returns:
        float64 [n], in nats.

    Raises:
        PfsrError: a score is NaN or +infinity, or a target's is not finite.
    """
    competing = np.where(_competing(scores, targets, seen), scores, -np.inf)
    peak, own = competing.max(axis=1), scores[np.arange(len(scores)), targets]
    if not (np.isfinite(peak).all() and np.isfinite(own).all()):
        raise PfsrError(DIVERGED)
    total = np.exp(competing - peak[:, None]).sum(axis=1, dtype=np.float64)
    return np.log(total) + peak.astype(np.float64) - own.astype(np.float64)


def _competing(scores: np.ndarray, targets: np.ndarray, seen: list[np.ndarray] | None) -> np.ndarray:
    rows = np.arange(len(scores))
    competing = np.ones(scores.shape, bool)
    competing[:, 0] = False
    if seen:
        competing[np.repeat(rows, [len(items) for items in seen]), np.concatenate(seen)] = False
    competing[rows, targets] = True
    return competing


def per_person(ranks: np.ndarray) -> dict[str, np.ndarray]:
    """Return HR, NDCG and MRR at 5, 10 and 20 of each rank, float64 [n] under names like ``NDCG@10``.

    With one target per person HR@k is Recall@k, and NDCG@k is 1 / log2(1 + rank) within the cutoff.
    """
    gains = {"HR": np.ones(len(ranks)), "NDCG": 1 / np.log2(1.0 + ranks), "MRR": 1.0 / ranks}
    return {f"{name}@{k}": np.where(ranks <= k, gain, 0.0) for name, gain in gains.items() for k in CUTOFFS}
