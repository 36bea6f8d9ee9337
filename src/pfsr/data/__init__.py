"""What people did -> one ordered sequence per person.

Names are imported when first used, so that a device that needs the catalogue alone does not load polars.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
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

_PLACES = {
    "Catalog": "catalog",
    "Dataset": "dataset",
    "Sequences": "sequences",
    "Summary": "summary",
    "describe": "summary",
    "large_population": "population",
    "load": "loading",
    "load_config": "loading",
    "read_events": "loading",
    "synthetic_world": "loading",
}


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module 'pfsr.data' has no attribute {name!r}")
    return getattr(import_module(f"pfsr.data.{_PLACES[name]}"), name)
