"""Nothing that took hours goes unasked: one comparison at a time in a folder, no cell made anew unsaid."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from pfsr.comparison.alone import alone_in
from pfsr.comparison.cell import Cell, MadeOf, Wanted, result_file, resumable
from pfsr.comparison.plan import Comparison
from pfsr.errors import PfsrError

SHOWN = 3
"""Differing settings that are named."""


@contextmanager
def guarded(comparison: Comparison, overwrite: bool) -> Iterator[None]:
    """Hold the comparison's folder.

    Raises:
        PfsrError: it cannot be written, another comparison is at work in it, or it holds cells with other
            settings that would be made anew, and ``overwrite`` is false.
    """
    out = comparison.out

    def busy() -> None:
        raise PfsrError(f"{out}: another comparison is at work here; wait for it, or name another --out")

    _make(out)
    with alone_in(out, busy):
        if not overwrite:
            _refuse_losses(comparison)
        yield


def refuse_file(out: Path) -> None:
    """Refuse a place where no folder can be.

    Raises:
        PfsrError: it is a file, or lies below one.
    """
    there = next(one for one in (out, *out.absolute().parents) if one.exists())
    if not there.is_dir():
        raise PfsrError(f"{there}: a file, not a folder; name another --out")


def _make(out: Path) -> None:
    refuse_file(out)
    try:
        out.mkdir(parents=True, exist_ok=True)
        (out / ".lock").touch()
    except OSError as error:
        raise PfsrError(f"{out}: cannot be written: {error.strerror or error}; name another --out") from None


def _refuse_losses(comparison: Comparison) -> None:
    going = {cell.label: how for cell in comparison.cells if (how := lost(cell))}
    if going:
        first, *more = going
        others = f", and {len(more)} more of its cells with other settings" if more else ""
        raise PfsrError(
            f"{comparison.out}: {first} was made with {going[first]}{others}; "
            "make it anew with --overwrite, or name another --out"
        )


def lost(cell: Cell) -> str:
    """Return how what lies in a cell's folder differs from what is wanted; empty: nothing goes."""
    if cell.result() or (cell.wanted.made_of.kind == "run" and resumable(cell.folder, cell.wanted)):
        return ""
    before = _before(cell)
    if before is None:
        return ""
    try:
        told = _differences(Wanted.model_validate(before), cell.wanted)
    except ValidationError:
        return "another version's settings"
    damaged = "settings that a damaged config.json or facts.json no longer tells"
    return told or (damaged if cell.wanted.made_of.kind == "run" else "")


def _before(cell: Cell) -> Any:
    """Return what was asked for when the result, or the rounds so far, were made; None: there are none."""
    finished, begun = result_file(cell.folder), cell.folder.metrics
    try:
        if finished.exists():
            return json.loads(finished.read_bytes())["wanted"]
        if begun.exists() and begun.stat().st_size:
            return json.loads((cell.folder.root / "wanted.json").read_bytes())
    except (OSError, ValueError, TypeError, KeyError):  # damaged: nobody can say that it is of use
        pass
    return None


def _differences(before: Wanted, now: Wanted) -> str:
    then, wanted = _flat(before.made_of), _flat(now.made_of)
    names = [name for name in wanted if then.get(name) != wanted[name]]
    told = [f"{name} {then.get(name)}, now {wanted[name]}" for name in names[:SHOWN]]
    if before.split != now.split:
        told.insert(0, "another split of the data")
    more = [f"{len(names) - SHOWN} more settings"] if len(names) > SHOWN else []
    return "; ".join(told + more)


def _flat(made_of: MadeOf) -> dict[str, Any]:
    """Return every setting under its name on the command line; those of the method below under ``of.``."""
    found: dict[str, Any] = {}

    def walk(value: Any, name: str) -> None:
        if isinstance(value, dict):
            for key, one in value.items():
                walk(one, f"{name}.{key}" if name else key)
        else:
            found[name] = value

    walk(made_of.config.model_dump(), "")
    walk(made_of.tuning.model_dump() if made_of.tuning else None, "tuning")
    walk(made_of.base.config.model_dump() if made_of.base else None, "of")
    walk(made_of.kind, "kind")
    return found
