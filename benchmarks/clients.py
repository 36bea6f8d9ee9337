"""Who is trained in the benchmarks: a synthetic population of the shape of a public data set, or a file."""

from pathlib import Path
from typing import NamedTuple

import numpy as np

from pfsr.config import Config, FederatedConfig
from pfsr.data import Dataset, large_population, load
from pfsr.data.split import leave_one_out
from pfsr.federated.cohort import eligible, sample_cohort
from pfsr.federated.rounds import first_state, make_broadcast
from pfsr.federated.view import Broadcast
from pfsr.model.response import response_sites
from pfsr.simulation.private_store import PrivateStore
from pfsr.simulation.simulator import BATCH, Population, Simulator

MEAN_LENGTH = 165.0
"""Events a person in MovieLens-1M."""


class Clients(NamedTuple):
    """People who train, inside their data set.

    Attributes:
        dataset: everybody.
        train_ends: int64 [people], how much of each history is for training.
        rows: int64, the people who train.
    """

    dataset: Dataset
    train_ends: np.ndarray
    rows: np.ndarray

    @property
    def items(self) -> int:
        """Size of the catalogue."""
        return len(self.dataset.catalog)


def synthetic_clients(size: int, items: int) -> Clients:
    """Return ``size`` people of a synthetic population with histories as long as MovieLens-1M's."""
    return _some(everybody(large_population(2 * size, items, MEAN_LENGTH)), size)


def clients_of_file(path: Path, size: int) -> Clients:
    """Return ``size`` people of a data file, 5-core filtered."""
    return _some(everybody(load(path)), size)


def everybody(dataset: Dataset) -> Clients:
    """Return all who have enough events to train, the last two events of each held out."""
    train_ends = leave_one_out(dataset.sequences).train_ends
    return Clients(dataset, train_ends, eligible(train_ends, 2))


def simulator_of(
    clients: Clients, config: Config, store: Path, batch: int = BATCH, threads: int | None = None
) -> Simulator:
    """Return a simulator whose private parameters lie in the new file ``store``."""
    people, offsets = len(clients.dataset.sequences), response_sites(config.model).total
    population = Population(
        clients.dataset.sequences, clients.train_ends, PrivateStore(store, people, offsets)
    )
    return Simulator(population, config, batch, threads)


def broadcast_of(config: Config, items: int, version: int) -> Broadcast:
    """Return what an untrained server sends as ``version``: the cost does not depend on the weights."""
    return make_broadcast(first_state(config, items)._replace(round=version), config)


def _some(clients: Clients, size: int) -> Clients:
    federated = FederatedConfig(cohort=size)
    return clients._replace(rows=sample_cohort(clients.rows, federated, seed=0, round_number=0))
