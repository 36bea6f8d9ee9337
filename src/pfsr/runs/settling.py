"""Settings that the data decide: what ``auto`` comes to on them."""

import math

from pfsr.config import Config
from pfsr.runs.judging import Bench

SHORT, LONG = (8, 0.5), (64, 0.2)
"""Training events a person, on average, and the dropout that suits them (docs/decisions/0015)."""


def settle(config: Config, bench: Bench) -> Config:
    """Return the configuration with numbers where it leaves a setting to the data."""
    if config.model.dropout != "auto":
        return config
    model = config.model.model_copy(update={"dropout": dropout_for(float(bench.split.train_ends.mean()))})
    return config.model_copy(update={"model": model})


def dropout_for(events: float) -> float:
    """Return the dropout for so many training events a person: linear in their logarithm, with two ends."""
    (few, most), (many, least) = SHORT, LONG
    way = math.log(max(events, few) / few) / math.log(many / few)
    return round(max(most + (least - most) * way, least), 2)
