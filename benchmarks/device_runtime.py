"""A device at work: one event recorded and ten items recommended, memory, start, disk.

Every size of catalogue is exported from a model with random weights and measured in a process of its own that
never imports PyTorch, through ``Device``: the store commits meanwhile. Items are a mixture: clusters of
unequal size around random centres, vectors of unequal length, biases; histories stay in two clusters each, so
that the model's queries lie where items lie. From 200,000 items on, an index answers (building it for a
million takes about a quarter of an hour of processor time: --items 1000000); its recall@10 is measured
against exact scores.

Aims: at 3,700 items at most 1 ms (median) and 5 ms (p99) an event, 120 MiB resident; at 60,000 at most 3 ms;
at a million at most 10 ms with recall@10 of .95; 200 kB on disk with 1,000 events, .5 s to open them and
recommend. On a shared machine read processor time: wall time waits for the others. "again / step" is what the
state of constant size saves against encoding the history again with the same runtime, event by event (for
PyTorch's parallel form see step_latency).
"""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import torch
from cyclopts import App, Parameter
from measure import prepare, show

from pfsr.config import ModelConfig
from pfsr.data import Catalog
from pfsr.export.folder import export_model
from pfsr.model.encoder import ITEM_BIAS, ITEMS, init_weights
from pfsr.model.recommender import Recommender

app = App(help=__doc__)

SIZES, LENGTHS = (3700, 60_000), (50, 200, 1000, 4000)
CLUSTERS, HISTORIES, EVENTS = 2000, 100, 30
EVENT_COLUMNS = ("items", "event ms: median", "p99", "cpu: median", "p99", "recall@10", "resident MiB")
START_COLUMNS = ("items", "imports s", "cpu", "open, 1,000 events, first list s", "cpu", "kB on disk")
LENGTH_COLUMNS = ("items, history", "step ms (cpu)", "ratio", "again ms (cpu)", "again / step")


@app.default
def main(
    items: Annotated[tuple[int, ...], Parameter(consume_multiple=True)] = SIZES,
    *,
    lengths: Annotated[tuple[int, ...], Parameter(consume_multiple=True)] = LENGTHS,
    steps: int = 2000,
    table: Literal["float32", "float16", "int8"] = "float32",
) -> None:
    """Measure.

    Parameters
    ----------
    items
        Sizes of the catalogue.
    lengths
        Events before the one that is timed, shortest first.
    steps
        Events timed.
    table
        How the item table is stored.
    """
    prepare()
    told = {size: _measured(size, lengths, steps, table) for size in items}
    show(
        f"One event and the ten best items, {table} table",
        EVENT_COLUMNS,
        [_event(*one) for one in told.items()],
    )
    show("Start of the process", START_COLUMNS, [_start(*one) for one in told.items()])
    rows = [_length(size, n, one["lengths"]) for size, one in told.items() for n in lengths]
    show("One more event, or all of them again", LENGTH_COLUMNS, rows)


def _measured(
    items: int, lengths: tuple[int, ...], steps: int, table: Literal["float32", "float16", "int8"]
) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as place:
        model, histories = _mixture(items)
        np.save(Path(place) / "histories.npy", histories)
        export_model(model, Path(place) / "model", table)
        script = Path(__file__).with_name("on_device.py")
        command = [sys.executable, script, Path(place) / "model", json.dumps(lengths), str(steps)]
        one_thread = os.environ | {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
        done = subprocess.run(command, env=one_thread, capture_output=True, text=True, check=True)
        return json.loads(done.stdout)


def _mixture(items: int) -> tuple[Recommender, np.ndarray]:
    """Return a model whose items are a mixture, and histories [B, L] that stay in two clusters each."""
    random, config = np.random.default_rng(0), ModelConfig()
    clusters = min(CLUSTERS, items)
    shares = np.arange(1, clusters + 1) ** -0.7
    cluster_I = random.choice(clusters, items, p=shares / shares.sum())
    centres = random.standard_normal((clusters, config.d_model))
    vectors_Id = centres[cluster_I] + 0.7 * random.standard_normal((items, config.d_model))
    vectors_Id *= 0.1 * random.lognormal(0, 0.25, (items, 1))
    weights = init_weights(config, items, seed=0)
    weights[ITEMS][1:] = torch.from_numpy(vectors_Id.astype(np.float32))
    weights[ITEM_BIAS][1:] = torch.from_numpy(random.normal(0, 0.5, items).astype(np.float32))
    model = Recommender(config, Catalog(tuple(range(1, items + 1))), weights)
    return model, np.stack([_history(cluster_I, random) for _ in range(HISTORIES)])


def _history(cluster_I: np.ndarray, random: np.random.Generator) -> np.ndarray:
    two = cluster_I[random.integers(len(cluster_I), size=2)]
    return 1 + random.choice(np.flatnonzero(np.isin(cluster_I, two)), EVENTS)


def _event(items: int, told: dict[str, Any]) -> list[str]:
    times = [f"{told['event'][name]:.3f}" for name in ("wall", "wall p99", "cpu", "cpu p99")]
    return [f"{items:,}", *times, f"{told['recall']:.3f}", f"{told['resident']:.0f}"]


def _start(items: int, told: dict[str, Any]) -> list[str]:
    return [
        f"{items:,}",
        *(f"{told[part][kind]:.2f}" for part in ("imports", "start") for kind in ("wall", "cpu")),
        f"{told['disk'] / 1000:.0f}",
    ]


def _length(items: int, length: int, told: dict[str, dict[str, float]]) -> list[str]:
    here, first = told[str(length)], next(iter(told.values()))
    ratios = [f"{here['step'] / first['step']:.2f}", f"{here['again'] / here['step']:.0f}"]
    return [f"{items:,}, {length:,}", f"{here['step']:.3f}", ratios[0], f"{here['again']:.1f}", ratios[1]]


if __name__ == "__main__":
    app()
