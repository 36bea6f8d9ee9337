"""Who takes part in a round: a function of the seed and the round's number alone."""

import numpy as np

from pfsr.federated.seeds import derive


def eligible(train_ends: np.ndarray, min_events: int) -> np.ndarray:
    """Return the people (int64 rows) who have ``min_events`` training events; it takes two to learn."""
    return np.flatnonzero(train_ends >= max(min_events, 2))


def sample_cohort(clients: np.ndarray, size: int, seed: int, round_number: int) -> np.ndarray:
    """Draw ``size`` of ``clients`` without replacement (all of them when there are fewer)."""
    random = np.random.default_rng(derive(seed, "cohort", round_number))
    return random.choice(clients, min(size, len(clients)), replace=False, shuffle=False)


def who_answers(cohort: np.ndarray, unavailable: float, seed: int, round_number: int) -> np.ndarray:
    """Return the clients of ``cohort`` that answer: each stays silent with probability ``unavailable``."""
    random = np.random.default_rng(derive(seed, "answers", round_number))
    return cohort[random.random(len(cohort)) >= unavailable]
