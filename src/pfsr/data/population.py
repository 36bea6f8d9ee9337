"""A large synthetic population in seconds, for measuring scale: plain structure, no titles."""

import numpy as np
import polars as pl

from pfsr.data.catalog import Catalog
from pfsr.data.dataset import Dataset
from pfsr.data.sequences import Sequences
from pfsr.errors import PfsrError

SHORTEST = 3
CLUSTERS = 64
RUN = 0.5
"""Chance that an event goes on with the item after the one before."""
EPOCH = 1_704_067_200.0
"""2024-01-01, in seconds since 1970."""
GAP = 86_400.0
"""Mean seconds between two events of one person."""


def large_population(people: int, items: int, mean_length: float = 12.0, seed: int = 0) -> Dataset:
    """Return ``people`` synthetic histories over ``items`` items; a million people take seconds.

    Each person keeps to one popularity-skewed cluster of items most of the time and often takes items one
    after the other. User ids are 0 to ``people - 1`` (an integer polars Series), item ids 1 to ``items``.

    Raises:
        PfsrError: a size is too small.
    """
    if people < 1 or items < 1 or mean_length < SHORTEST:
        raise PfsrError(
            f"large_population: people {people}, items {items}, mean_length {mean_length}: "
            f"needs 1, 1 and {SHORTEST} or more"
        )
    rng = np.random.default_rng(seed)
    lengths = SHORTEST - 1 + rng.geometric(1 / (mean_length - SHORTEST + 1), people)
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    sequences = Sequences(offsets, _items(offsets, items, rng), _times(offsets, rng))
    ids = pl.int_range(people, eager=True).alias("user_id")
    return Dataset("large-population", ids, Catalog(tuple(range(1, items + 1))), sequences)


def _items(offsets: np.ndarray, items: int, rng: np.random.Generator) -> np.ndarray:
    """Return int32 [events]: fresh draws, each followed by a run of the items after it."""
    events = int(offsets[-1])
    begins = rng.random(events, np.float32) >= RUN
    begins[offsets[:-1]] = True
    starts = np.flatnonzero(begins).astype(np.int64)
    owners = np.searchsorted(offsets, starts, side="right") - 1
    lengths = np.diff(np.append(starts, events))
    drawn = np.repeat(_draws(owners, items, rng), lengths)
    drawn += (np.arange(events) - np.repeat(starts, lengths)).astype(np.int32)
    return drawn % np.int32(items) + np.int32(1)


def _draws(owners: np.ndarray, items: int, rng: np.random.Generator) -> np.ndarray:
    """Return one item per draw (int32, from 0): log-uniform rank in the owner's cluster, or in all."""
    clusters = min(CLUSTERS, items)
    size = items // clusters
    homes = rng.integers(clusters, size=int(owners[-1]) + 1)
    luck = rng.random(len(owners))
    at_home = (np.power(float(size), luck) - 1 + homes[owners] * size).astype(np.int32)
    anywhere = (np.power(float(items), luck) - 1).astype(np.int32)
    return np.where(rng.random(len(owners), np.float32) < 0.8, at_home, anywhere)


def _times(offsets: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return float64 [events], rising within each person from a start of their own within a year."""
    running = rng.exponential(GAP, int(offsets[-1])).cumsum()
    begin = EPOCH + rng.uniform(0, 365 * GAP, len(offsets) - 1) - running[offsets[:-1]]
    running += np.repeat(begin, np.diff(offsets))
    return running
