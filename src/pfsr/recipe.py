"""From a recipe and the command line to one validated configuration, or one line that says what is wrong."""

import json
import reprlib
import tomllib
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from pfsr.config import Config
from pfsr.errors import PfsrError


def read_recipe(path: Path) -> dict[str, Any]:
    """Return the settings that a recipe (TOML), or the ``config.json`` of a run, names.

    Raises:
        PfsrError: the file is missing, unreadable or no recipe.
    """
    parse = json.loads if path.suffix == ".json" else tomllib.loads
    try:
        settings = parse(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise PfsrError(f"recipe {path}: no such file; recipes that ship with PFSR lie in recipes/") from None
    except OSError as error:
        raise PfsrError(f"recipe {path}: cannot be read: {error.strerror or error}") from None
    except ValueError as error:
        kind = "JSON" if path.suffix == ".json" else "TOML"
        raise PfsrError(f"recipe {path}: not a recipe ({kind}): {error}") from None
    if not isinstance(settings, dict):
        raise PfsrError(f"recipe {path}: expected sections of settings, found a {type(settings).__name__}")
    return settings


def resolve(
    settings: dict[str, Any], overrides: dict[str, Any] | None = None, origin: str = "settings"
) -> Config:
    """Return the validated configuration of ``settings`` with ``overrides`` on top.

    Raises:
        PfsrError: a key is unknown or a value is out of range; the message names it.
    """
    try:
        return Config.model_validate(merge(settings, overrides or {}))
    except ValidationError as error:
        raise PfsrError(explain(error, origin)) from None


def explain(error: ValidationError, origin: str) -> str:
    """Return the first thing wrong with a configuration, on one line."""
    first = error.errors()[0]
    if first["type"] == "extra_forbidden":
        name = ".".join(map(str, first["loc"]))
        return f"{origin}: {name}: no such setting; pfsr train --help lists them all"
    where = _knob(first)
    if first["type"] == "value_error":
        return f"{origin}: {where}: {first['msg'].removeprefix('Value error, ')}"
    # A knob that takes a number or a word has one error for each of the two: both are told.
    wanted = " or: ".join(other["msg"] for other in error.errors() if _knob(other) == where)
    return f"{origin}: {where}: {wanted} (got {reprlib.repr(first['input'])})"


def _knob(error: ErrorDetails) -> str:
    """Return the name of the knob that an error is about, without the kind of value that pydantic tried."""
    return ".".join(str(part) for part in error["loc"] if str(part).isidentifier()) or "settings"


def merge(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    """Return ``base`` with the leaves of ``over`` laid on top, section by section."""
    merged = dict(base)
    for key, value in over.items():
        both = isinstance(value, dict) and isinstance(merged.get(key), dict)
        merged[key] = merge(merged[key], value) if both else value
    return merged
