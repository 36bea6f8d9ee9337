from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from pfsr.config import Config
from pfsr.federated.aggregate import PartialSum, add, partial_sum
from pfsr.federated.batch import ClientBatch, client_batch
from pfsr.federated.client import local_update
from pfsr.federated.partition import Private, new_private
from pfsr.federated.rounds import ServerState, Trainer, first_state, make_broadcast
from pfsr.federated.update import Updates, dense_delta
from pfsr.federated.view import Broadcast
from pfsr.model.encoder import ITEMS
from pfsr.model.response import Sites, response_sites
from pfsr.recipe import resolve

BASE: dict[str, Any] = {
    "model": {
        "d_model": 16,
        "heads": 2,
        "d_state": 4,
        "d_conv": 3,
        "blocks": 2,
        "horizon": 3,
        "dropout": 0.0,
        "event_dropout": 0.0,
    },
    "federated": {"window": 16, "cohort": 4, "warmup": 0, "rounds": 50},
    "objective": {"negatives": 5},
}


class World:
    """Twelve items, six people with 2 to 40 training events, a model of width 16."""

    catalogue = 12

    def __init__(self) -> None:
        random = np.random.default_rng(0)
        lengths = (2, 3, 7, 12, 17, 40)
        self.people = [random.integers(1, self.catalogue + 1, n, dtype=np.int32) for n in lengths]

    def config(self, **sections: dict[str, Any]) -> Config:
        """Return the tiny configuration with changes."""
        return resolve(BASE, sections)

    def sites(self, config: Config) -> Sites:
        return response_sites(config.model)

    def batch(self, histories: Sequence[np.ndarray] | None = None, first_seed: int = 0) -> ClientBatch:
        chosen = self.people if histories is None else histories
        return client_batch(chosen, [first_seed + i for i in range(len(chosen))], 16)

    def out_of_play(self, config: Config, batch: ClientBatch, row: int) -> Tensor:
        """Return what each target of one client does not compete with, bool [events, items + 1]."""
        length = batch.lengths[row]
        out = torch.zeros(length, self.catalogue + 1, dtype=torch.bool)
        if config.objective.seen == "kept":
            return out
        for event in range(length):
            out[event, [*batch.before[row].tolist(), *batch.items_BL[row, : event + 1].tolist()]] = True
            out[event, batch.targets_BL[row, event]] = False
        return out

    def state(self, config: Config, dtype: torch.dtype = torch.float32, limit: float = 1e6) -> ServerState:
        """Return a server whose weights have left their first zeros and ones; its limits bind nobody."""
        random = torch.Generator().manual_seed(1)
        state = first_state(config, self.catalogue)
        weights = {
            name: weight.to(dtype) + 0.2 * torch.randn(weight.shape, generator=random, dtype=dtype)
            for name, weight in state.weights.items()
        }
        weights[ITEMS][0] = 0
        return state._replace(weights=weights, limits_T=torch.full_like(state.limits_T, limit))

    def broadcast(self, config: Config, dtype: torch.dtype = torch.float32, limit: float = 1e6) -> Broadcast:
        return make_broadcast(self.state(config, dtype, limit), config)

    def private(self, config: Config, people: int = 6, seed: int = 0) -> Private:
        """Return private parameters of people who took part before."""
        random = torch.Generator().manual_seed(seed)
        total = self.sites(config).total
        offsets = 0.05 * torch.randn(people, total, generator=random)
        return Private(offsets, torch.rand(people, total, generator=random), torch.full((people,), 3.0))

    def learn(
        self, config: Config, private: Private, batch: ClientBatch, broadcast: Broadcast | None = None
    ) -> tuple[Updates, Private]:
        """Let everybody in a batch take part once."""
        sent = self.broadcast(config) if broadcast is None else broadcast
        return local_update(sent, private, batch, config, self.sites(config))

    def dense(self, updates: Updates, client: int, broadcast: Broadcast) -> dict[str, Tensor]:
        """Return one client's movements of all shared tensors, in their own shapes."""
        return {n: dense_delta(updates, n, client, w) for n, w in broadcast.weights.items()}

    def trainer(self, config: Config, histories: Sequence[np.ndarray] | None = None) -> Trainer:
        """Return the plain loop over clients, each of whom keeps private parameters of its own."""
        sites = self.sites(config)
        chosen = self.people if histories is None else histories
        kept = [new_private(1, sites) for _ in chosen]

        def train(broadcast: Broadcast, people: np.ndarray) -> PartialSum:
            sums = []
            for person in people:
                batch = self.batch([chosen[person]], first_seed=100 * broadcast.version + int(person))
                updates, kept[person] = local_update(broadcast, kept[person], batch, config, sites)
                sums.append(partial_sum(updates, broadcast.weights))
            return add(sums)

        return train


@pytest.fixture(scope="session")
def world() -> World:
    return World()
