"""What people did -> one ordered sequence per person."""

from pfsr.data.catalog import Catalog
from pfsr.data.dataset import Dataset
from pfsr.data.loading import load, load_config, read_events, synthetic_world
from pfsr.data.population import large_population
from pfsr.data.sequences import Sequences
from pfsr.data.summary import Summary, describe

__all__ = [
    "Catalog",
    "Dataset",
    "Sequences",
    "Summary",
    "describe",
    "large_population",
    "load",
    "load_config",
    "read_events",
    "synthetic_world",
]
