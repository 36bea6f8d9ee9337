"""A device model: a folder that ``pfsr export`` writes, and what tells whether it is whole.

    manifest.json         what the model is, and the SHA-256 of every other file
    catalog.json          item id <-> row, titles
    step.onnx             x [1, d], offsets [1, S], state [1, Z] -> query [1, d], new_state [1, Z]
    encode.onnx           x [1, L, d], offsets, state -> queries [1, L, d], new_state: ``step`` L times
    score.onnx            query [B, d], items [I + 1, d], bias [I + 1] -> scores; column 0 is -infinity
    weights.safetensors   the shared weights: the item table, which the graphs do not hold, and all others
    items.usearch         large catalogues: an index of approximate nearest neighbours
    memory.safetensors    a memory of pairs, if the model has one; ``model.memory`` tells how it is read

x is an item's vector times sqrt(d). Whoever reads this needs no PyTorch.

Shapes: L events, I items, d = d_model, S private offsets, Z floats of state.
"""

import hashlib
import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import ValidationError, model_validator

from pfsr.config import Count, ModelConfig, Positive, Section
from pfsr.data.catalog import Catalog
from pfsr.errors import PfsrError
from pfsr.model.adaptation import Adaptation
from pfsr.model.memory import PairHeader

FORMAT, VERSION = "pfsr-device", 2
"""Version 2 has a memory of pairs; without one it is 1, which older versions of PFSR read too."""

MANIFEST, CATALOG, WEIGHTS, INDEX = "manifest.json", "catalog.json", "weights.safetensors", "items.usearch"
MEMORY = "memory.safetensors"
STEP, ENCODE, SCORE = "step.onnx", "encode.onnx", "score.onnx"
FILES = frozenset({CATALOG, WEIGHTS, STEP, ENCODE, SCORE})
"""What every device model has beside its manifest."""

Table = Literal["float32", "float16", "int8"]
"""How the item table is stored."""


class IndexFacts(Section):
    """How wide the index of a large catalogue is searched, and the share of the best 10 found so."""

    expansion: Positive
    recall: float


class Manifest(Section):
    """What a device model is; see the module's text. ``adaptation`` says how a person's offsets are learned
    under it; without it, by the defaults.
    """

    format: Literal["pfsr-device"] = FORMAT
    format_version: Positive = 1
    model_version: str
    items: Positive
    table: Table
    model: ModelConfig
    sites: tuple[tuple[str, Positive], ...]
    states: tuple[tuple[str, tuple[Count, ...]], ...]
    files: dict[str, str]
    index: IndexFacts | None = None
    adaptation: Adaptation | None = None
    memory: PairHeader | None = None

    @model_validator(mode="after")
    def _spread_fits_sites(self) -> "Manifest":
        if self.adaptation and len(self.adaptation.spread) != len(self.sites):
            raise ValueError("adaptation.spread: one number for every site is needed")
        return self

    @model_validator(mode="after")
    def _index_or_memory(self) -> "Manifest":
        if self.index and self.memory:
            raise ValueError("index: what a memory of pairs adds, an index does not know")
        return self

    @property
    def names(self) -> frozenset[str]:
        """Return the files that it has beside the manifest."""
        return FILES | ({INDEX} if self.index else set()) | ({MEMORY} if self.memory else set())

    @property
    def state_size(self) -> int:
        """Floats that remember a history."""
        return sum(math.prod(shape) for _, shape in self.states)


@dataclass(frozen=True)
class SiteLayout:
    """The layout of a person's flat offsets: names and sizes of the sites, in order."""

    names: tuple[str, ...]
    sizes: tuple[int, ...]

    @property
    def total(self) -> int:
        """Offsets per person."""
        return sum(self.sizes)


def site_layout(manifest: Manifest) -> SiteLayout:
    """Return where a person's private offsets act."""
    names, sizes = zip(*manifest.sites, strict=True)
    return SiteLayout(names, sizes)


def model_version(facts: dict[str, Any], digests: dict[str, str]) -> str:
    """Return 16 hex digits that stand for all that decides what a model computes.

    Args:
        facts: the manifest's ``items``, ``table``, ``model``, ``sites``, ``states`` and, if there are any,
            ``adaptation`` and ``memory``, as JSON.
        digests: SHA-256 of the files; those of weights, catalogue and memory count, since a graph that
            another version of the exporter wrote is still the same model.
    """
    told = {name: facts[name] for name in ("items", "table", "model", "sites", "states")}
    told |= {name: facts[name] for name in ("adaptation", "memory") if facts.get(name)}
    told |= {name: digests[name] for name in (WEIGHTS, CATALOG, MEMORY) if name in digests}
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:16]


def read_manifest(folder: Path) -> Manifest:
    """Return the manifest of a device model whose every file is as it was exported.

    Raises:
        PfsrError: there is none, or it is damaged, or made by a newer version of PFSR.
    """
    form = _form(folder)
    manifest = _parsed(folder, form)
    if manifest.files.keys() != manifest.names:
        raise damaged(folder, f"{MANIFEST} names other files than a device model has")
    for name in sorted(manifest.names):
        if file_digest(folder / name) != manifest.files[name]:
            raise damaged(folder, f"{name} is not the file that was exported")
    if model_version(form, manifest.files) != manifest.model_version:
        raise damaged(folder, f"{MANIFEST} does not belong to its weights and catalogue")
    return manifest


def read_catalog(folder: Path) -> Catalog:
    """Return the catalogue of a device model.

    Raises:
        PfsrError: it is missing or damaged.
    """
    try:
        return Catalog.from_json(json.loads((folder / CATALOG).read_text(encoding="utf-8")))
    except (OSError, ValueError, RecursionError, PfsrError) as error:
        raise damaged(folder, f"{CATALOG}: {str(error).splitlines()[0]}") from None


def file_digest(path: Path) -> str:
    """Return the SHA-256 of a file, in hex.

    Raises:
        PfsrError: it is missing or unreadable.
    """
    try:
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise damaged(path.parent, f"{path.name}: {error.strerror or error}") from None


def damaged(folder: Path, why: str) -> PfsrError:
    """Return the error for a folder that is not a whole device model."""
    return PfsrError(f"{folder}: damaged or not a device model ({why}); write it again with pfsr export")


def _form(folder: Path) -> dict[str, Any]:
    try:
        form = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise PfsrError(
            f"{folder}: no device model here; pfsr export BUNDLE --out FOLDER writes one"
        ) from None
    except OSError as error:
        raise PfsrError(f"{folder}: {MANIFEST} cannot be read: {error.strerror or error}") from None
    except (ValueError, RecursionError):
        raise damaged(folder, f"{MANIFEST} is not JSON") from None
    _check_format(folder, form)
    return form


def _parsed(folder: Path, form: dict[str, Any]) -> Manifest:
    try:
        return Manifest.model_validate(form)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise damaged(folder, f"{MANIFEST}: {where}: {first['msg']}") from None


def _check_format(folder: Path, form: Any) -> None:
    if not isinstance(form, dict) or form.get("format") != FORMAT:
        raise damaged(folder, f"{MANIFEST} is not that of a device model")
    version = form.get("format_version")
    if isinstance(version, int) and version > VERSION:
        raise PfsrError(
            f"{folder}: device model format {version}, this PFSR reads up to {VERSION}; upgrade PFSR"
        )
