"""Settings that the data decide: what ``auto`` comes to on them."""

import math

from pfsr.config import Config
from pfsr.runs.judging import Bench

SPARSE, DENSE = (16, 0.5), (200, 0.2)
"""Training events an item, and the dropout that suits them (docs/decisions/0015)."""


def settle(config: Config, bench: Bench) -> Config:
    """Return the configuration with numbers where it leaves a setting to the data."""
    if config.model.dropout != "auto":
        return config
    events = int(bench.split.train_ends.sum()) / max(len(bench.dataset.catalog), 1)
    model = config.model.model_copy(update={"dropout": dropout_for(events)})
    return config.model_copy(update={"model": model})


def dropout_for(events_an_item: float) -> float:
    """Return the dropout for so many training events an item: linear in their logarithm, between two ends."""
    (few, most), (many, least) = SPARSE, DENSE
    way = math.log(max(events_an_item, few) / few) / math.log(many / few)
    return round(max(most + (least - most) * way, least), 2)
