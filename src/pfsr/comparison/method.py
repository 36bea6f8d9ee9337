"""A method to compare: one short TOML file that says what it is and which settings it lays over a recipe."""

import difflib
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError, model_validator

from pfsr.comparison.finetuning import Tuning
from pfsr.config import Section
from pfsr.errors import PfsrError

FOLDER = Path(__file__).parent / "methods"
"""The methods that ship with PFSR."""
SHARED = frozenset({"name", "seed", "track", "data"})
"""Settings that every method of a comparison takes from the recipe."""
BUILT_IN = (
    *("popularity", "markov"),
    *("sasrec-central", "gru4rec-central", "mamba4rec-central", "lrurec-central", "amb-central"),
    *("sasrec-fedadam", "gru4rec-fedadam", "mamba4rec-fedadam", "lrurec-fedadam", "amb-fedadam"),
    *("sasrec-fedavg", "gru4rec-fedavg", "mamba4rec-fedavg", "lrurec-fedavg", "amb-fedavg"),
    *("fedprox", "local-only", "ditto", "fedper", "fedrep", "pfedrec"),
    *("pfsr", "pfsr-scrambled", "pfsr-flipped", "pfsr-no-response", "pfsr-hard"),
    *("pfsr-no-magnitude", "pfsr-prox", "pfsr-1bit"),
)
"""The methods that ship with PFSR, in the order of a comparison."""
KINDS = {
    "rule": {"rule"},
    "run": set(),
    "local": {"tuning"},
    "ditto": {"of", "tuning"},
    "scrambled": {"of"},
}
"""What a method of each kind must say, and no other may."""


class Method(Section):
    """What a method file says.

    Attributes:
        name: the file's stem; names cells and rows.
        about: one line, with the source paper.
        kind: ``rule`` counts and learns nothing; ``run`` is a PFSR run; ``local`` trains a fresh model on
            each device alone; ``ditto`` fine-tunes the global model of the method ``of`` on each device;
            ``scrambled`` serves everybody with somebody else's private offsets of the method ``of``.
        rule: which rule.
        ours: it is compared with the best rival, instead of being one.
        of: the method whose finished model, and whose settings, ``ditto`` and ``scrambled`` start from: one
            that ships with PFSR, or another of the comparison.
        tuning: how ``local`` and ``ditto`` learn on a device.
        settings: laid over the recipe, section by section.
    """

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
    about: str
    kind: Literal["rule", "run", "local", "ditto", "scrambled"]
    ours: bool = False
    rule: Literal["popularity", "markov"] | None = None
    of: str | None = None
    tuning: Tuning | None = None
    settings: dict[str, Any] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _says_what_its_kind_needs(self) -> "Method":
        said = {name for name in ("rule", "of", "tuning") if getattr(self, name) is not None}
        for name in sorted(KINDS[self.kind] - said):
            raise ValueError(f"kind = {self.kind!r} needs {name}")
        for name in sorted(said - KINDS[self.kind]):
            raise ValueError(f"kind = {self.kind!r} has no {name}")
        if self.kind in ("rule", "scrambled") and self.settings:
            raise ValueError(f"kind = {self.kind!r} learns nothing and has no settings")
        for name in sorted(SHARED & self.settings.keys()):
            raise ValueError(f"settings.{name} is the recipe's: all methods share it")
        return self


def find_method(name: str) -> Method:
    """Return the method that ships under ``name``, or the one in the TOML file ``name``.

    Raises:
        PfsrError: there is no such method, or its file is wrong.
    """
    if name.endswith(".toml") or "/" in name:
        if (stem := Path(name).stem) in BUILT_IN:
            raise PfsrError(f"method {name}: {stem} ships with PFSR; rename your file")
        return read_method(Path(name))
    if name not in BUILT_IN:
        near = difflib.get_close_matches(name, BUILT_IN, n=1, cutoff=0)[0]
        raise PfsrError(f"method {name!r} is unknown; did you mean {near!r}? Known: {', '.join(BUILT_IN)}")
    return read_method(FOLDER / f"{name}.toml")


def read_method(path: Path) -> Method:
    """Return the method in a TOML file.

    Raises:
        PfsrError: the file is missing or no method.
    """
    try:
        told = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise PfsrError(f"method {path}: no such file") from None
    except OSError as error:
        raise PfsrError(f"method {path}: cannot be read: {error.strerror or error}") from None
    except ValueError as error:
        raise PfsrError(f"method {path}: not a method file (TOML): {error}") from None
    if "name" in told:
        raise PfsrError(f"method {path}: name: no such key; the file's name is the method's")
    try:
        return Method.model_validate(told | {"name": path.stem})
    except ValidationError as error:
        raise PfsrError(f"method {path}: {_first(error)}") from None


def _first(error: ValidationError) -> str:
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        return f"{where}: no such key; a method has {', '.join(Method.model_fields)}"
    reason = first["msg"].removeprefix("Value error, ")
    return f"{where}: {reason}" if where else reason
