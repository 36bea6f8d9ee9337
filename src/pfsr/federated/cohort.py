"""Who takes part in a round: a function of the seed and the round's number alone."""

from math import ceil

import numpy as np

from pfsr.config import FederatedConfig
from pfsr.federated.seeds import derive


def eligible(train_ends: np.ndarray, min_events: int) -> np.ndarray:
    """Return the people (int64 rows) who have ``min_events`` training events; it takes two to learn."""
    return np.flatnonzero(train_ends >= max(min_events, 2))


def sample_cohort(
    clients: np.ndarray, federated: FederatedConfig, seed: int, round_number: int
) -> np.ndarray:
    """Return the clients invited to a round, each once, by ``federated.sampling``."""
    if federated.sampling == "epochs":
        return _part_of_epoch(clients, federated.cohort, seed, round_number)
    return _any(clients, federated.cohort, seed, round_number)


def _any(clients: np.ndarray, size: int, seed: int, round_number: int) -> np.ndarray:
    random = np.random.default_rng(derive(seed, "cohort", round_number))
    return random.choice(clients, min(size, len(clients)), replace=False, shuffle=False)


def _part_of_epoch(clients: np.ndarray, size: int, seed: int, round_number: int) -> np.ndarray:
    rounds = ceil(len(clients) / size)
    epoch, part = divmod(round_number, rounds)
    random = np.random.default_rng(derive(seed, "epoch", epoch))
    return np.array_split(random.permutation(clients), rounds)[part]


def who_answers(cohort: np.ndarray, unavailable: float, seed: int, round_number: int) -> np.ndarray:
    """Return the clients of ``cohort`` that answer: each stays silent with probability ``unavailable``."""
    random = np.random.default_rng(derive(seed, "answers", round_number))
    return cohort[random.random(len(cohort)) >= unavailable]
