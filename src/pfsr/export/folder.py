"""A bundle becomes a device model: graphs, weights, catalogue, manifest, in a folder written whole or not.

Shapes: B histories, I items, d = d_model.
"""

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from safetensors.numpy import save

from pfsr.device.manifest import (
    CATALOG,
    ENCODE,
    FORMAT,
    MANIFEST,
    MEMORY,
    SCORE,
    STEP,
    VERSION,
    WEIGHTS,
    IndexFacts,
    Manifest,
    Table,
    file_digest,
    model_version,
)
from pfsr.device.ranking import EXACT_LIMIT, Told, unheard
from pfsr.device.runtime import Runtime
from pfsr.errors import PfsrError
from pfsr.export.graphs import encode_graph, score_graph, step_graph
from pfsr.export.index import write_index
from pfsr.export.states import StateLayout
from pfsr.export.tables import NO_LOSS, TableLoss, random_histories, stored_table, table_loss, with_table
from pfsr.model.adaptation import Adaptation
from pfsr.model.encoder import ITEMS
from pfsr.model.recommender import Recommender

if TYPE_CHECKING:
    from onnx import ModelProto

CHECKED = 4
"""Random histories that the exported model is checked with."""

CLOSE = 1e-4
"""How far the exported model's scores may lie from the bundle's, relative to their size."""


class Exported(NamedTuple):
    """A device model that was written.

    Attributes:
        manifest: what it is.
        size: bytes of the folder.
        loss: what storing the table in fewer bits costs (zeros for float32).
        difference: between the scores of ONNX Runtime and PyTorch, relative to the size of the scores.
    """

    manifest: Manifest
    size: int
    loss: TableLoss
    difference: float


def export_model(
    model: Recommender,
    folder: Path,
    table: Table = "float32",
    adaptation: Adaptation | None = None,
    tell: Told = unheard,
) -> Exported:
    """Write ``model`` as a device model; the folder appears whole, checked against the model, or not at all.

    Args:
        model: the trained model.
        folder: the place; there must be nothing yet.
        table: how the item table is stored.
        adaptation: how devices learn offsets under it, as the run did; None: by the defaults.
        tell: hears how many items of how many the index of a large catalogue holds.

    Raises:
        PfsrError: the folder exists already or cannot be written, the encoder cannot run on a device,
            something is not installed, or the exported model computes something else.
    """
    layout = _layout(model)
    stored = stored_table(model.weights[ITEMS].numpy(), table)
    kept = with_table(model, stored)
    with _whole(folder) as unfinished:
        _write_model(kept, stored, unfinished)
        index = write_index(kept, unfinished, tell) if _needs_index(model) else None
        facts = {"items": len(model.catalog), "table": table, **_shape(model, layout)}
        if adaptation is not None:
            facts["adaptation"] = adaptation.model_dump(mode="json")
        if model.memory is not None:
            facts["memory"] = model.memory.header().model_dump(mode="json")
        manifest = _write_manifest(facts, index, unfinished)
        difference = _difference(kept, Runtime.open(unfinished))
    size = sum(path.stat().st_size for path in folder.iterdir())
    loss = NO_LOSS if table == "float32" else table_loss(model, kept)
    return Exported(manifest, size, loss, difference)


def _needs_index(model: Recommender) -> bool:
    """Tell whether a catalogue is too large to rank exactly; what a memory adds, an index does not know."""
    return len(model.catalog) >= EXACT_LIMIT and model.memory is None


def _layout(model: Recommender) -> StateLayout:
    try:
        return StateLayout.of(model.config)
    except PfsrError:
        raise PfsrError(
            f"encoder {model.config.encoder} has no state of constant size, so it cannot run on a device; "
            "export a model with encoder amb or mamba4rec"
        ) from None


def _shape(model: Recommender, layout: StateLayout) -> dict[str, object]:
    return {
        "model": model.config.model_dump(mode="json"),
        "sites": [list(site) for site in zip(model.sites.names, model.sites.sizes, strict=True)],
        "states": [[name, list(shape)] for name, shape in layout.shapes.items()],
    }


def _write_model(model: Recommender, stored: dict[str, np.ndarray], folder: Path) -> None:
    others = {name: weight.numpy() for name, weight in model.weights.items() if name != ITEMS}
    (folder / WEIGHTS).write_bytes(save(others | stored))
    if model.memory is not None:
        (folder / MEMORY).write_bytes(save(model.memory.arrays()))
    (folder / CATALOG).write_text(json.dumps(model.catalog.to_json()), encoding="utf-8")
    step = step_graph(model)
    for name, graph in ((STEP, step), (ENCODE, encode_graph(step)), (SCORE, score_graph())):
        _write_graph(graph, folder / name)


def _write_graph(graph: "ModelProto", path: Path) -> None:
    from onnx import checker

    checker.check_model(graph, full_check=True)
    path.write_bytes(graph.SerializeToString(deterministic=True))


def _write_manifest(facts: dict[str, object], index: IndexFacts | None, folder: Path) -> Manifest:
    digests = {path.name: file_digest(path) for path in sorted(folder.iterdir())}
    version = VERSION if "memory" in facts else 1
    form = {"format": FORMAT, "format_version": version, "model_version": model_version(facts, digests)}
    form |= facts | {"files": digests, "index": index and index.model_dump()}
    (folder / MANIFEST).write_text(json.dumps(form, indent=1), encoding="utf-8")
    return Manifest.model_validate(form)


def _difference(model: Recommender, runtime: Runtime) -> float:
    """Return how far the exported model is from PyTorch's after some histories, with random offsets.

    Raises:
        PfsrError: too far.
    """
    offsets_S = 0.1 * np.random.default_rng(1).standard_normal(runtime.sites.total, np.float32)
    histories = random_histories(len(model.catalog), CHECKED)
    if model.memory:
        histories[:, -1] = model.memory.busiest()  # at random they would hardly call anything to mind
    offsets_BS = torch.from_numpy(offsets_S).expand(CHECKED, -1)
    expected_BI = model.score(list(histories), offsets_BS)[:, 1:].numpy()
    queries_Bd = [runtime.replay(rows, offsets_S)[1] for rows in histories]
    scored = zip(queries_Bd, histories, strict=True)
    found_BI = np.stack([runtime.scores(query_d, rows, rows)[1:] for query_d, rows in scored])
    difference = float(np.abs(found_BI - expected_BI).max() / np.abs(expected_BI).max())
    if not difference < CLOSE:
        raise PfsrError(
            f"the exported model's scores differ from the bundle's by {difference:.1e} of their size; "
            "nothing was written; try the versions of torch and onnxruntime that PFSR is tested with"
        )
    return difference


@contextmanager
def _whole(folder: Path) -> Iterator[Path]:
    """Give a folder to write into that takes the place of ``folder`` when all went well."""
    if folder.exists():
        raise PfsrError(f"{folder}: exists already; name another folder, or remove it first")
    unfinished = folder.with_name(f".{folder.name}.part")
    try:
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(parents=True)
        yield unfinished
        _sync(unfinished)
        unfinished.rename(folder)
        _sync_entry(folder.parent)
    except OSError as error:
        raise PfsrError(f"{folder}: cannot be written: {error.strerror or error}") from None
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def _sync(folder: Path) -> None:
    for path in folder.iterdir():
        with path.open("rb+") as written:
            os.fsync(written.fileno())
    _sync_entry(folder)


def _sync_entry(folder: Path) -> None:
    """Make a folder's list of names durable, where the system can."""
    with suppress(OSError):
        entry = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(entry)
        finally:
            os.close(entry)
