"""Personalized federated sequential recommender.

    import pfsr

    data = pfsr.load("synthetic")
    run = pfsr.train(data, {"federated": {"rounds": 150}}, out="runs/first")
    run.evaluate(), run.recommend("person-0001"), run.report()

Names are imported when first used, so that ``import pfsr`` is instant.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pfsr.data import Catalog, Dataset, describe, load
    from pfsr.errors import PfsrError
    from pfsr.model.bundle import open_bundle, save_bundle
    from pfsr.model.recommender import Recommender
    from pfsr.runs.api import TrainedRun, open_run, resume, train

__all__ = [
    "Catalog",
    "Dataset",
    "PfsrError",
    "Recommender",
    "TrainedRun",
    "describe",
    "load",
    "open_bundle",
    "open_run",
    "resume",
    "save_bundle",
    "train",
]

_PLACES = {
    "Catalog": "data",
    "Dataset": "data",
    "PfsrError": "errors",
    "Recommender": "model.recommender",
    "TrainedRun": "runs.api",
    "describe": "data",
    "load": "data",
    "open_bundle": "model.bundle",
    "open_run": "runs.api",
    "resume": "runs.api",
    "save_bundle": "model.bundle",
    "train": "runs.api",
}


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module 'pfsr' has no attribute {name!r}")
    return getattr(import_module(f"pfsr.{_PLACES[name]}"), name)
