"""The shared weights of a device model as NumPy arrays, the item table as it is stored; no PyTorch needed.

Files are mapped, not loaded: of a table that an index searches, only the rows that are read occupy memory.

Shapes: I items, d = d_model; row 0 of the item table is padding.
"""

import json
import mmap
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from pfsr.device.manifest import WEIGHTS, damaged

ITEMS, ITEM_SCALE, ITEM_BIAS = "items", "items.scale", "item_bias"
"""Names of the item table, of its factor per row (int8 alone) and of the score biases [I + 1]."""

_TYPES = {"F32": np.float32, "F16": np.float16, "I8": np.int8, "I32": np.int32, "I64": np.int64}


class ItemTable:
    """Item vectors [I + 1, d], stored as float32, as float16, or as int8 with one factor per row."""

    def __init__(self, stored: np.ndarray, scale: np.ndarray | None = None) -> None:
        self.stored, self.scale = stored, scale

    def __len__(self) -> int:
        return len(self.stored)

    def vectors(self, rows: Any) -> np.ndarray:
        """Return the vectors at ``rows`` (a number, an array or a slice), float32."""
        found = self.stored[rows].astype(np.float32, copy=False)
        return found if self.scale is None else found * self.scale[rows, None]

    def in_memory(self) -> "ItemTable":
        """Return a float32 copy that needs no file."""
        return ItemTable(np.array(self.vectors(slice(None))))

    def by_column(self) -> "ItemTable":
        """Return a float32 copy, one column after the other: its product with a query reads memory faster."""
        return ItemTable(np.asfortranarray(self.in_memory().stored))


def item_table(tensors: Mapping[str, np.ndarray]) -> ItemTable:
    """Return the item table among a device model's tensors."""
    return ItemTable(tensors[ITEMS], tensors.get(ITEM_SCALE))


def read_weights(folder: Path) -> dict[str, np.ndarray]:
    """Return the shared weights of a device model as float32, item table included: what learning needs.

    Raises:
        PfsrError: the file is missing or damaged.
    """
    tensors = mapped_weights(folder)
    table = item_table(tensors).in_memory()
    plain = {name: np.array(value) for name, value in tensors.items() if name not in (ITEMS, ITEM_SCALE)}
    return {**plain, ITEMS: table.stored}


def mapped_weights(folder: Path) -> dict[str, np.ndarray]:
    """Return the weights of a device model as they are stored, read-only views of the file.

    Raises:
        PfsrError: the file is missing or damaged.
    """
    tensors = mapped(folder, WEIGHTS)
    if not {ITEMS, ITEM_BIAS} <= tensors.keys():
        raise damaged(folder, f"{WEIGHTS} holds no item table")
    return tensors


def mapped(folder: Path, name: str) -> dict[str, np.ndarray]:
    """Return the tensors in a file of a device model, read-only views of it; raises as the others do."""
    try:
        with (folder / name).open("rb") as stream:
            content = mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ)
        start = 8 + int.from_bytes(content[:8], "little")
        header = json.loads(content[8:start])
        header.pop("__metadata__", None)
        return {name: _view(content, start, entry) for name, entry in header.items()}
    except OSError as error:
        raise damaged(folder, f"{name}: {error.strerror or error}") from None
    except (AttributeError, KeyError, TypeError, ValueError, OverflowError, RecursionError):
        raise damaged(folder, f"{name} is no safetensors file") from None


def _view(content: mmap.mmap, start: int, entry: dict[str, Any]) -> np.ndarray:
    dtype, (begin, end) = np.dtype(_TYPES[entry["dtype"]]), entry["data_offsets"]
    return np.frombuffer(content, dtype, (end - begin) // dtype.itemsize, start + begin).reshape(
        entry["shape"]
    )
