from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pfsr.config import Config
from pfsr.data.sequences import Sequences
from pfsr.federated.cohort import eligible
from pfsr.federated.rounds import RoundReport, ServerState, first_state, run_round
from pfsr.model.response import response_sites
from pfsr.recipe import resolve
from pfsr.simulation.private_store import PrivateStore
from pfsr.simulation.simulator import Population, Simulator

BASE: dict[str, Any] = {
    "model": {
        "d_model": 16,
        "heads": 2,
        "d_state": 4,
        "d_conv": 3,
        "blocks": 1,
        "horizon": 3,
        "dropout": 0.2,
    },
    "federated": {
        "window": 10,
        "cohort": 30,
        "warmup": 0,
        "rounds": 20,
        "server": "fedavg",
        "server_rate": 1.0,
    },
    "objective": {"negatives": 5},
}


class World:
    """Forty people with 1 to 24 events over twelve items; the last two events of each are held out."""

    items = 12

    def __init__(self) -> None:
        random = np.random.default_rng(0)
        lengths = random.integers(3, 25, 40)
        lengths[:2] = 1, 3
        events = int(lengths.sum())
        self.sequences = Sequences(
            np.concatenate([[0], np.cumsum(lengths)]),
            random.integers(1, self.items + 1, events, dtype=np.int32),
            np.arange(events, dtype=np.float64),
        )
        self.train_ends = np.maximum(lengths - 2, 0)
        self.clients = eligible(self.train_ends, 2)

    def config(self, **sections: dict[str, Any]) -> Config:
        """Return the tiny configuration with changes."""
        return resolve(BASE, sections)

    def population(self, path: Path, config: Config, sequences: Sequences | None = None) -> Population:
        store = PrivateStore(path, len(self.sequences), response_sites(config.model).total)
        return Population(self.sequences if sequences is None else sequences, self.train_ends, store)

    def run(self, simulator: Simulator, rounds: int) -> tuple[ServerState, list[RoundReport]]:
        state, reports = first_state(simulator.config, self.items), []
        for _ in range(rounds):
            state, report = run_round(state, self.clients, simulator, simulator.config)
            reports.append(report)
        return state, reports


@pytest.fixture(scope="session")
def world() -> World:
    return World()
