"""Ids of people and items: which types are allowed, and how they are told apart and written as JSON."""

import datetime as dt
import math
import uuid
from collections.abc import Callable, Hashable, Iterable
from typing import Any

import numpy as np

from pfsr.errors import PfsrError

SAFE_INTEGER = 2**53
"""Integers below this survive every JSON reader; larger ones are written as text."""

ENCODERS: dict[type, tuple[str, Callable[[Any], Any]]] = {
    bool: ("bool", bool),
    float: ("float", float.hex),
    bytes: ("bytes", bytes.hex),
    uuid.UUID: ("uuid", str),
    dt.datetime: ("datetime", dt.datetime.isoformat),
    dt.date: ("date", dt.date.isoformat),
    tuple: ("tuple", lambda value: [encode(part) for part in value]),
    int: ("int", hex),
}

DECODERS: dict[str, Callable[[Any], Hashable]] = {
    "bool": bool,
    "float": float.fromhex,
    "bytes": bytes.fromhex,
    "uuid": uuid.UUID,
    "datetime": dt.datetime.fromisoformat,
    "date": dt.date.fromisoformat,
    "tuple": lambda parts: tuple(decode(part) for part in parts),
    "int": lambda text: int(text, 16),
}


def plain(value: Any) -> Hashable:
    """Return ``value`` as a plain Python id (NumPy scalars unwrapped).

    Raises:
        PfsrError: the type cannot be written down exactly, or the value is missing (None, NaN).
    """
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or (isinstance(value, float) and math.isnan(value)):
        raise PfsrError(f"id {value!r}: missing; drop such events first")
    if type(value) is tuple:
        return tuple(plain(part) for part in value)
    if type(value) is not str and type(value) not in ENCODERS:
        raise PfsrError(
            f"id {shown(value)}: type {type(value).__name__} is not supported; "
            "use str, int, bool, float, bytes, UUID, date, datetime or tuples of those"
        )
    return value


def key(value: Hashable) -> Hashable:
    """Return a dictionary key that keeps apart what Python calls equal (1, 1.0, True)."""
    if type(value) is int or type(value) is str:
        return value
    if type(value) is tuple:
        return "tuple", *(key(part) for part in value)
    return type(value).__name__, value


def encode(value: Hashable) -> Any:
    """Return the JSON form of an id: text and small integers as they are, others as ``{type: text}``."""
    if type(value) is str or (type(value) is int and abs(value) < SAFE_INTEGER):
        return value
    tag, encoder = ENCODERS[type(value)]
    return {tag: encoder(value)}


def decode(form: Any) -> Hashable:
    """Return the id that :func:`encode` wrote.

    Raises:
        PfsrError: the form is none of those.
    """
    if type(form) is str or type(form) is int:
        return form
    try:
        ((tag, content),) = form.items()
        return DECODERS[tag](content)
    except (AttributeError, KeyError, TypeError, ValueError):
        raise PfsrError(f"catalogue: id {shown(form)} is damaged; export the catalogue again") from None


def shown(value: Any, limit: int = 60) -> str:
    """Return ``repr(value)`` on one line, shortened."""
    text = repr(value).replace("\n", " ")
    return text if len(text) <= limit else text[: limit - 3] + "..."


def unknown(kind: str, value: Any, is_known: Callable[[Hashable], bool]) -> PfsrError:
    """Return the error for an id that is not known, with a hint when only its type is wrong."""
    twin = next((other for other in _twins(value) if is_known(other)), None)
    hint = "" if twin is None else f"; did you mean {shown(twin)}?"
    return PfsrError(f"{kind} {shown(value)} is unknown{hint}")


def _twins(value: Any) -> Iterable[Hashable]:
    if isinstance(value, str):
        yield from _numbers(value)
    elif isinstance(value, bool | int | float):
        yield from (str(value), int(value) if math.isfinite(value) else value)


def _numbers(text: str) -> Iterable[Hashable]:
    for kind in (int, float):
        try:
            yield kind(text)
        except ValueError:
            continue
