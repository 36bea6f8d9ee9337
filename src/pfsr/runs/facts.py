"""What a run was made of, written down before its first round."""

import platform
import sys
from importlib.metadata import version
from typing import Any

from pfsr.config import Config
from pfsr.data.dataset import Dataset
from pfsr.data.split import Split
from pfsr.federated.cohort import eligible
from pfsr.federated.rounds import first_state, uses_sampled_loss
from pfsr.federated.update import wire_bytes
from pfsr.model.response import response_sites
from pfsr.runs.judging import Bench
from pfsr.simulation.simulator import available_cores


def gather_facts(bench: Bench, config: Config) -> dict[str, Any]:
    """Return data, split, model size and versions, in the order a reader wants them."""
    dataset, groups = bench.dataset, len(response_sites(config.model).names)
    weights = first_state(config, len(dataset.catalog)).weights
    return {
        **data_facts(dataset, bench.split, config),
        "clients": len(eligible(bench.split.train_ends, config.federated.min_events)),
        "loss": "sampled" if uses_sampled_loss(config, len(dataset.catalog)) else "full",
        "shared_parameters": sum(weight.numel() for weight in weights.values()),
        "private_parameters": 0 if config.response.mode == "off" else response_sites(config.model).total,
        "update_bytes": wire_bytes(weights, groups, config.federated.upload_bits),
        "seed": config.seed,
        "cores": available_cores(),
        "versions": {name: version(name) for name in ("pfsr", "torch", "numpy", "polars")}
        | {"python": platform.python_version()},
    }


def data_facts(dataset: Dataset, held_out: Split, config: Config) -> dict[str, Any]:
    """Return what is told of the data and of what is held out."""
    return {
        "data": dataset.name,
        "synthetic": config.data.source == "synthetic",
        "people": len(dataset.sequences),
        "items": len(dataset.catalog),
        "events": len(dataset.sequences.items),
        "split": held_out.kind,
        "split_hash": held_out.digest,
    }


def peak_memory_bytes() -> int:
    """Return the largest resident memory of this process so far (0 where the system does not tell)."""
    try:
        import resource
    except ImportError:
        return 0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
