"""A device model in use, on ONNX Runtime: events in, ranked items out, at constant cost per event.

Nothing here imports PyTorch. A runtime holds nothing of a person: the state (floats that remember a history)
and the private offsets come in with every call and go out again, so that one runtime serves many threads.

Shapes: L events, I items, d = d_model, S private offsets, Z floats of state.
"""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, cast

import numpy as np

from pfsr.data.catalog import Catalog
from pfsr.device.manifest import (
    CATALOG,
    ENCODE,
    MEMORY,
    STEP,
    Manifest,
    SiteLayout,
    damaged,
    read_catalog,
    read_manifest,
    site_layout,
)
from pfsr.device.ranking import EXACT_LIMIT, NeighbourIndex, best_places
from pfsr.device.weights import ITEM_BIAS, ItemTable, item_table, mapped, mapped_weights
from pfsr.errors import PfsrError
from pfsr.model.memory import PairHeader, PairMemory

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

BLOCK = EXACT_LIMIT
"""Items scored at a time: a larger table is not brought into memory as a whole."""

CHUNK = 256
"""Events a replay takes in at a time: bounds its memory."""


Rows = Sequence[int] | np.ndarray
"""Catalogue rows."""


class Graphs(NamedTuple):
    """The ONNX graphs of the encoder, ready to run. Scores are one product, which NumPy computes faster."""

    step: "InferenceSession"
    encode: "InferenceSession"


class Runtime:
    """A device model, opened.

    Attributes:
        manifest: what the model is.
        version: the model's version; a state or offsets belong to one.
        catalog: the items it knows.
        sites: the layout of a person's offsets.
        state_size: Z.
    """

    def __init__(self, folder: Path, manifest: Manifest) -> None:
        self.manifest = manifest
        self.version = manifest.model_version
        self.sites: SiteLayout = site_layout(manifest)
        self.state_size = manifest.state_size
        self.catalog = _catalog(folder, manifest)
        self._table, self._bias = _items(folder, manifest)
        self._graphs = Graphs(*(_session(folder, name) for name in (STEP, ENCODE)))
        self._index = manifest.index and NeighbourIndex.open(folder, manifest.index.expansion)
        self._memory = manifest.memory and _memory(folder, manifest.memory, manifest.items)

    @classmethod
    def open(cls, folder: str | Path) -> "Runtime":
        """Open the device model in ``folder``; every file is checked against the manifest.

        Raises:
            PfsrError: there is none, it is damaged or from a newer PFSR, or ONNX Runtime is not installed.
        """
        return cls(Path(folder), read_manifest(Path(folder)))

    def start(self) -> np.ndarray:
        """Return the state of a person with no history, float32 [Z]."""
        return np.zeros(self.state_size, np.float32)

    def step(self, state: np.ndarray, row: int, offsets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Take in one more event; return the new state [Z] and the query [d] after it.

        Args:
            state: what :meth:`start`, :meth:`step` or :meth:`replay` returned, float32 [Z].
            row: the item's catalogue row.
            offsets: the person's private offsets, float32 [S]; zeros are the global model. Use the same ones
                for a history's every step.

        Raises:
            PfsrError: there is no such row, state or offsets have another shape, or the result is not finite.
        """
        x_1d = self._embedded([row])
        inputs = {"x": x_1d, "offsets": self._offsets(offsets), "state": self._state(state)}
        query_1d, state_1Z = _run(self._graphs.step, inputs)
        return _finite(state_1Z[0]), _finite(query_1d[0])

    def advance(self, state: np.ndarray, rows: Rows, offsets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Take in some more events, as :meth:`step` would; return the new state and the queries [L, d]."""
        x_Ld, queries = self._embedded(rows), [np.zeros((0, self._table.stored.shape[1]), np.float32)]
        inputs = {"offsets": self._offsets(offsets), "state": self._state(state)}
        for begin in range(0, len(x_Ld), CHUNK):
            inputs["x"] = x_Ld[None, begin : begin + CHUNK]
            query_1Ld, inputs["state"] = _run(self._graphs.encode, inputs)
            queries.append(query_1Ld[0])
        return _finite(inputs["state"][0]), _finite(np.concatenate(queries))

    def encode(self, rows: Rows, offsets: np.ndarray) -> np.ndarray:
        """Return the query after each event of a whole history, [L, d]; raises like :meth:`step`."""
        return self.advance(self.start(), rows, offsets)[1]

    def replay(self, rows: Rows, offsets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the state after a whole history and its query [d] (zeros for an empty one, whose best items
        are those with the highest bias); raises like :meth:`step`.
        """
        state, queries = self.advance(self.start(), rows, offsets)
        return state, queries[-1] if len(queries) else np.zeros(self._table.stored.shape[1], np.float32)

    def scores(self, query: np.ndarray, newest: Rows = (), had: Rows = ()) -> np.ndarray:
        """Return the score of every item, float32 [I + 1]; column 0 (padding) is -infinity.

        Args:
            query: float32 [d].
            newest: rows of the history's newest events, oldest first, which a memory of pairs reads.
            had: rows in the history, or all that do not compete.
        """
        scored, query = np.empty(len(self._table), np.float32), np.asarray(query, np.float32)
        for begin in range(0, len(self._table), BLOCK):
            rows = slice(begin, begin + BLOCK)
            np.dot(self._table.vectors(rows), query, out=scored[rows])
        scored += self._bias
        scored[0] = -np.inf
        return self._memory.add_to(scored, np.asarray(newest), np.asarray(had)) if self._memory else scored

    def best(
        self, query: np.ndarray, k: int, exclude_rows: Rows = (), newest: Rows = ()
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the rows and scores of the ``k`` best items, best first; fewer where fewer are left.

        Exact where there is no index, that is below 200,000 items and with a memory of pairs; else by the
        index (see ``manifest.index`` for its measured recall).

        Args:
            query: float32 [d].
            k: how many.
            exclude_rows: rows to leave out.
            newest: rows of the history's newest events, oldest first, which a memory of pairs reads.

        Raises:
            PfsrError: ``k`` is not positive.
        """
        if k < 1:
            raise PfsrError(f"k must be at least 1 (got {k})")
        excluded = np.asarray(exclude_rows, np.int64)
        if self._index:
            rows = self._index.search_without(query, k, excluded)
            scored = self._table.vectors(rows) @ query + self._bias[rows]
            places = best_places(scored, k)
            return rows[places], scored[places]
        scored = self.scores(query, newest, excluded)
        scored[excluded] = -np.inf
        rows = best_places(scored, k)
        return rows, scored[rows]

    def _embedded(self, rows: Rows) -> np.ndarray:
        known = np.asarray(rows, np.int64)
        if len(known) and not (known.min() > 0 and known.max() < len(self._table)):
            raise PfsrError(f"catalogue rows go from 1 to {len(self._table) - 1}; got others")
        return self._table.vectors(known) * np.float32(math.sqrt(self._table.stored.shape[1]))

    def _offsets(self, offsets: np.ndarray) -> np.ndarray:
        return _row("offsets", offsets, self.sites.total)

    def _state(self, state: np.ndarray) -> np.ndarray:
        return _row("state", state, self.state_size)


def _run(graph: "InferenceSession", inputs: dict[str, np.ndarray]) -> list[np.ndarray]:
    return cast("list[np.ndarray]", graph.run(None, inputs))


def _row(name: str, values: np.ndarray, size: int) -> np.ndarray:
    if values.shape != (size,):
        raise PfsrError(f"{name}: expected {size} floats for this model, got shape {values.shape}")
    return np.ascontiguousarray(values, np.float32)[None]


def _finite(values: np.ndarray) -> np.ndarray:
    if not np.isfinite(values).all():
        raise PfsrError("the model's result is not finite; offsets, state or model are damaged")
    return values


def _catalog(folder: Path, manifest: Manifest) -> Catalog:
    catalog = read_catalog(folder)
    if len(catalog) != manifest.items:
        raise damaged(folder, f"{CATALOG} has {len(catalog)} items, not {manifest.items}")
    return catalog


def _items(folder: Path, manifest: Manifest) -> tuple[ItemTable, np.ndarray]:
    tensors = mapped_weights(folder)
    table, bias = item_table(tensors), np.array(tensors[ITEM_BIAS])
    if table.stored.shape != (manifest.items + 1, manifest.model.d_model) or len(bias) != len(table):
        raise damaged(folder, "the item table does not fit the manifest")
    return table if manifest.index else table.by_column(), bias


def _memory(folder: Path, header: PairHeader, items: int) -> PairMemory:
    try:
        return PairMemory.read(header, mapped(folder, MEMORY), items)
    except ValueError as error:
        raise damaged(folder, f"{MEMORY}: {str(error).splitlines()[0]}") from None


def _session(folder: Path, name: str) -> "InferenceSession":
    try:
        import onnxruntime
    except ImportError:
        raise PfsrError("a device model needs ONNX Runtime: pip install 'pfsr[device]'") from None
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.enable_cpu_mem_arena = False
    options.log_severity_level = 3
    try:
        return onnxruntime.InferenceSession(folder / name, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime's errors have no common class but this one
        raise damaged(folder, f"{name}: {str(error).splitlines()[0]}") from None
