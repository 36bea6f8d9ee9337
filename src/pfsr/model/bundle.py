"""A model as one file: safetensors, with the model's shape and the catalogue as JSON in its header, and, if a
run trained it, what devices need to adapt it to a person. A memory of pairs is in it too, as tensors whose
names begin with ``memory.``; such a file is version 2, all others stay readable for older versions of PFSR.

One file is written beside its place and then renamed, so a reader sees the old bundle or the new one.
Nothing is ever unpickled.
"""

import json
import os
import re
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from pfsr.config import ModelConfig
from pfsr.data.catalog import Catalog
from pfsr.errors import PfsrError
from pfsr.model.adaptation import Adaptation
from pfsr.model.amb import Weights
from pfsr.model.encoder import init_weights
from pfsr.model.memory import PREFIX, PairHeader, PairMemory
from pfsr.model.recommender import Recommender

FORMAT, VERSION = "pfsr-bundle", 2


def save_bundle(model: Recommender, path: Path, adaptation: Adaptation | None = None) -> None:
    """Write ``model`` to ``path``, whole or not at all.

    Args:
        model: the trained model.
        path: the file.
        adaptation: how people's offsets are learned under it; None: a device uses the defaults.

    Raises:
        PfsrError: the place cannot be written.
    """
    header = {
        "format": FORMAT,
        "version": str(VERSION if model.memory else 1),
        "model": model.config.model_dump_json(),
        "catalog": json.dumps(model.catalog.to_json()),
    }
    if adaptation is not None:
        header["adaptation"] = adaptation.model_dump_json()
    tensors = {name: weight.contiguous() for name, weight in model.weights.items()}
    if model.memory:
        header["memory"] = model.memory.header().model_dump_json()
        tensors |= {name: torch.from_numpy(array) for name, array in model.memory.arrays().items()}
    write_tensors(tensors, path, header)


def write_tensors(tensors: Weights, path: Path, header: dict[str, str]) -> None:
    """Write tensors as safetensors to ``path``, whole or not at all, and wait until they are on disk.

    Raises:
        PfsrError: the place cannot be written.
    """
    temporary = path.with_name(f".{path.name}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        mode = _usual_mode(temporary)
        save_file(tensors, temporary, header)
        temporary.chmod(mode)
        with temporary.open("rb+") as written:
            _sort_header(written)
            os.fsync(written.fileno())
        temporary.replace(path)
    except (OSError, SafetensorError) as error:
        with suppress(OSError):
            temporary.unlink()
        raise PfsrError(f"{path}: cannot be written: {_reason(error)}") from None


def open_bundle(path: str | Path) -> Recommender:
    """Read a bundle.

    Raises:
        PfsrError: the file is missing, damaged, not a bundle, or made by a newer version of PFSR.
    """
    path = Path(path)
    tensors, header = _read(path)
    try:
        config = ModelConfig.model_validate_json(header["model"])
        catalog = Catalog.from_json(json.loads(header["catalog"]))
    except (KeyError, ValueError, RecursionError, PfsrError) as error:
        raise _damaged(path, f"its header does not hold a model: {str(error).splitlines()[0]}") from None
    memory = _memory(path, header, tensors, len(catalog))
    weights = {name: tensor for name, tensor in tensors.items() if not name.startswith(PREFIX)}
    _check_weights(path, weights, config, len(catalog))
    return Recommender(config, catalog, weights, memory)


def read_adaptation(path: str | Path) -> Adaptation | None:
    """Return how people's offsets are learned under a bundle's model; None: it does not say.

    Raises:
        PfsrError: as :func:`open_bundle`.
    """
    path = Path(path)
    told = _read(path)[1].get("adaptation")
    try:
        return None if told is None else Adaptation.model_validate_json(told)
    except ValueError as error:
        raise _damaged(path, f"its header does not hold how to adapt: {str(error).splitlines()[0]}") from None


def read_tensors(path: Path) -> tuple[Weights, dict[str, str]]:
    """Return the tensors of a safetensors file and its header.

    Raises:
        PfsrError: the file is missing or damaged.
    """
    try:
        with safe_open(path, framework="pt") as stored:
            return {name: stored.get_tensor(name) for name in stored.keys()}, stored.metadata() or {}  # noqa: SIM118
    except FileNotFoundError:
        raise PfsrError(f"{path}: no such file") from None
    except (SafetensorError, OSError, ValueError) as error:
        raise _damaged(path, str(error).splitlines()[0]) from None


def _read(path: Path) -> tuple[Weights, dict[str, str]]:
    """Return the tensors and the header of what is a bundle."""
    if not path.exists():
        raise PfsrError(f"{path}: no such bundle; a run has one from its first look at the validation events")
    tensors, header = read_tensors(path)
    if header.get("format") != FORMAT:
        raise PfsrError(f"{path}: not a PFSR bundle; bundles are written by pfsr train as best.safetensors")
    _check_version(path, header)
    return tensors, header


def _check_version(path: Path, header: dict[str, Any]) -> None:
    version = header.get("version", "")
    if not re.fullmatch("[0-9]{1,9}", version):
        raise _damaged(path, f"version {version[:20]!r} is not a number")
    if int(version) > VERSION:
        raise PfsrError(f"{path}: bundle version {version}, this PFSR reads up to {VERSION}; upgrade PFSR")


def _check_weights(path: Path, weights: Weights, config: ModelConfig, items: int) -> None:
    shapes = {name: w.shape for name, w in init_weights(config, items, seed=0).items()}
    if {name: w.shape for name, w in weights.items()} != shapes:
        raise _damaged(path, "its tensors do not fit its model and catalogue")
    if not all(w.dtype == torch.float32 and bool(w.isfinite().all()) for w in weights.values()):
        raise _damaged(path, "it holds numbers that are not finite float32")


def _memory(path: Path, header: dict[str, str], tensors: Weights, items: int) -> PairMemory | None:
    if "memory" not in header:
        return None
    try:
        arrays = {name: tensor.numpy() for name, tensor in tensors.items() if name.startswith(PREFIX)}
        return PairMemory.read(PairHeader.model_validate_json(header["memory"]), arrays, items)
    except (TypeError, ValueError) as error:  # NumPy has no bfloat16
        raise _damaged(path, f"its memory of pairs: {str(error).splitlines()[0]}") from None


def _usual_mode(path: Path) -> int:
    """Return the mode that a new file gets here; safetensors hides its files from other users."""
    path.unlink(missing_ok=True)
    path.touch()
    return path.stat().st_mode


def _sort_header(stream: IO[bytes]) -> None:
    """Make equal models equal files: safetensors writes its metadata in random order."""
    length = int.from_bytes(stream.read(8), "little")
    header = json.loads(stream.read(length))
    text = json.dumps(header, sort_keys=True, ensure_ascii=False, separators=(",", ":")).encode()
    if len(text) <= length:
        stream.seek(8)
        stream.write(text.ljust(length))
        stream.flush()


def _reason(error: Exception) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or str(error).splitlines()[0]


def _damaged(path: Path, why: str) -> PfsrError:
    return PfsrError(f"{path}: damaged or not a bundle ({why}); copy it again or train again")
