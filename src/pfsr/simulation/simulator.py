"""A whole population on one machine: each round's cohort is trained as a few batches, one thread a core.

A cohort is sorted by length (inside the round, so the draw stays uniform) and cut into batches small
enough to stay in cache. Batches are independent and their sums are added in a fixed order, so the result
does not depend on the number of threads.
"""

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import NamedTuple, TypeVar

import numpy as np
import torch

from pfsr.config import Config
from pfsr.data.sequences import Sequences
from pfsr.federated.aggregate import PartialSum, add, partial_sum
from pfsr.federated.batch import ClientBatch, client_batch
from pfsr.federated.client import adapt, local_update
from pfsr.federated.partition import Private
from pfsr.federated.seeds import derive
from pfsr.federated.view import Broadcast
from pfsr.model.response import response_sites
from pfsr.simulation.private_store import PrivateStore

Part = TypeVar("Part")

BATCH = 32
"""Clients trained as one batch."""


class Population(NamedTuple):
    """People who can be trained: their histories, how much of each is for training, what is private.

    Attributes:
        sequences: everybody's events.
        train_ends: int64 [people]; only events before it are ever read here.
        private: everybody's private parameters.
    """

    sequences: Sequences
    train_ends: np.ndarray
    private: PrivateStore


class Simulator:
    """Trains cohorts of a :class:`Population`; a ``Trainer`` for ``run_round``.

    Args:
        population: who there is.
        config: the run's configuration.
        batch: clients trained at once; 1 is the plain loop over clients.
        threads: batches trained at the same time; by default one per core.
    """

    def __init__(
        self, population: Population, config: Config, batch: int = BATCH, threads: int | None = None
    ) -> None:
        self.population = population
        self.config = config
        self.batch = batch
        self.threads = threads or available_cores()
        self.sites = response_sites(config.model)

    def __call__(self, broadcast: Broadcast, people: np.ndarray) -> PartialSum:
        """Let ``people`` learn under ``broadcast``; keep what is private, return the sum of what is not."""
        sums = []
        for part, private, group in self._spread_over_cores(self._train, broadcast, people):
            self.population.private.write(group, private)
            sums.append(part)
        return add(sums)

    def adapt(self, broadcast: Broadcast, people: np.ndarray) -> None:
        """Let ``people`` adapt privately to a finished model; nothing is returned, all of it is private."""
        for _, private, group in self._spread_over_cores(self._adapt, broadcast, people):
            self.population.private.write(group, private)

    def _spread_over_cores(
        self,
        work: Callable[[Broadcast, np.ndarray, Private], tuple[Part, Private]],
        broadcast: Broadcast,
        people: np.ndarray,
    ) -> list[tuple[Part, Private, np.ndarray]]:
        groups = self._groups(people)
        before = [self.population.private.read(group) for group in groups]
        with core_pool(self.threads) as pool:
            done = list(pool.map(lambda group, private: work(broadcast, group, private), groups, before))
        return [(part, private, group) for (part, private), group in zip(done, groups, strict=True)]

    def _groups(self, people: np.ndarray) -> list[np.ndarray]:
        lengths = np.minimum(self.population.train_ends[people], self.config.federated.window + 1)
        ordered = people[np.argsort(-lengths, kind="stable")]
        return [ordered[start : start + self.batch] for start in range(0, len(ordered), self.batch)]

    def _train(
        self, broadcast: Broadcast, people: np.ndarray, private: Private
    ) -> tuple[PartialSum, Private]:
        batch = self._batch(broadcast, people, "train")
        updates, private = local_update(broadcast, private, batch, self.config, self.sites)
        return partial_sum(updates, broadcast.weights), private

    def _adapt(self, broadcast: Broadcast, people: np.ndarray, private: Private) -> tuple[None, Private]:
        batch = self._batch(broadcast, people, "adapt")
        return None, adapt(broadcast, private, batch, self.config, self.sites)

    def _batch(self, broadcast: Broadcast, people: np.ndarray, purpose: str) -> ClientBatch:
        ends = self.population.train_ends
        histories = [self.population.sequences.history(int(p), int(ends[p])) for p in people]
        seeds = [derive(self.config.seed, purpose, broadcast.version, int(p)) for p in people]
        return client_batch(histories, seeds, self.config.federated.window)


def available_cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextmanager
def core_pool(threads: int) -> Iterator[ThreadPoolExecutor]:
    """Yield a pool of ``threads`` threads in which every tensor operation keeps to its own thread."""
    one = {"initializer": torch.set_num_threads, "initargs": (1,)}
    with one_thread_each(), ThreadPoolExecutor(threads, **one) as pool:
        yield pool


@contextmanager
def one_thread_each() -> Iterator[None]:
    """Let tensor operations use one thread, since the batches already use all cores."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
