"""What the store keeps of one person, and how it lies in the rows of the database.

SQLite notices a broken page, not a broken byte inside a text or a number; hence one CRC-32 per row.
"""

import json
import sqlite3
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple
from zlib import crc32

import numpy as np

from pfsr.errors import PfsrError

ItemId = str | int
"""``'1'`` and ``1`` are two items, as in a catalogue."""

MAX_ITEM_BYTES = 65_536
"""Longest item id taken in, as UTF-8."""

SETTING = "setting "
"""What the names of settings begin with among what is kept."""

FORGOTTEN = "forgotten offsets"
"""Holds the last version of the offsets that were forgotten."""

_INT64 = range(-(2**63), 2**63)


class Event(NamedTuple):
    """One thing the person did.

    Attributes:
        seq: place in the order of arrival, from 1; never used twice.
        item: item id, whether or not a catalogue knows it.
        time_ms: milliseconds since 1970, as told, else the device's clock on arrival; orders nothing.
        duplicate: whether the store had this event already; ``seq`` is then that of the first.
        given: whether ``time_ms`` was told.
    """

    seq: int
    item: ItemId
    time_ms: int
    duplicate: bool = False
    given: bool = True


class Stamp(NamedTuple):
    """What a live state was computed from: the two versions and the last event in it."""

    model_version: str
    offsets_version: int
    seq: int


class Offsets(NamedTuple):
    """The private parameters.

    Attributes:
        version: grows by one with every change.
        offsets_S: float32.
        fisher_S: their Fisher information, float32.
        rounds: participations so far.
        model_version: of the model they were learned with.
    """

    version: int
    offsets_S: np.ndarray
    fisher_S: np.ndarray
    rounds: float
    model_version: str


class Upload(NamedTuple):
    """What left the device: when (ms since 1970), how many bytes, which fields, from which model."""

    time_ms: int
    bytes: int
    fields: tuple[str, ...]
    model_version: str


def seal(values: Sequence[object], blob: bytes = b"") -> int:
    """Return the CRC-32 of a row; types count, so that ``'1'`` is not ``1``."""
    return crc32(blob, crc32(repr(tuple(values)).encode()))


def check_event(item: object, time_ms: object) -> None:
    """Raise PfsrError unless the store can keep this item id and this time exactly."""
    if isinstance(item, bool) or not isinstance(item, str | int):
        raise PfsrError(f"item {item!r:.60}: expected text or a whole number, got {type(item).__name__}")
    if isinstance(item, int) and item not in _INT64:
        raise PfsrError(f"item {item}: whole numbers go from -2^63 to 2^63 - 1; give longer ids as text")
    if isinstance(item, str) and not 0 < _utf8_bytes(item) <= MAX_ITEM_BYTES:
        raise PfsrError(f"item {item!r:.60}: an id is 1 to {MAX_ITEM_BYTES:,} bytes of valid Unicode")
    if time_ms is not None and (type(time_ms) is not int or time_ms not in _INT64):
        raise PfsrError(f"time {time_ms!r:.60}: expected milliseconds since 1970 as a whole number, or None")


def _utf8_bytes(text: str) -> int:
    """Return the length in UTF-8; 0 for text that UTF-8 cannot hold (a lone surrogate)."""
    try:
        return len(text.encode())
    except UnicodeEncodeError:
        return 0


def put_events(database: sqlite3.Connection, events: Iterable[Event]) -> None:
    """Insert events; one whose ``seq`` is there already is the same one, tried again."""
    rows = ((e.seq, e.item, e.time_ms, int(e.given)) for e in events)
    database.executemany(
        "INSERT INTO events VALUES (?, ?, ?, ?, ?) ON CONFLICT (seq) DO NOTHING",
        ((*row, seal(row)) for row in rows),
    )


def get_events(database: sqlite3.Connection, rest: str, *values: object) -> list[Event]:
    """Return the events that ``SELECT ... FROM events`` gives with ``rest`` of the statement behind it."""
    rows = database.execute(f"SELECT seq, item, time_ms, given FROM events {rest}", values).fetchall()
    return [Event(seq, item, time_ms, given=bool(given)) for seq, item, time_ms, given in rows]


def put_upload(database: sqlite3.Connection, upload: Upload) -> None:
    """Add one line to the list of what left the device."""
    number = database.execute("SELECT coalesce(max(number), 0) + 1 FROM uploads").fetchall()[0][0]
    row = (number, upload.time_ms, upload.bytes, json.dumps(upload.fields), upload.model_version)
    database.execute("INSERT INTO uploads VALUES (?, ?, ?, ?, ?, ?)", (*row, seal(row)))


def get_uploads(database: sqlite3.Connection) -> list[Upload]:
    """Return what left the device, oldest first."""
    rows = database.execute("SELECT time_ms, bytes, fields, model_version FROM uploads ORDER BY number")
    return [Upload(at, size, tuple(json.loads(fields)), model) for at, size, fields, model in rows.fetchall()]


def put_kept(database: sqlite3.Connection, name: str, about: Any, value: bytes = b"") -> None:
    """Keep one value, with what there is to say about it as JSON, in place of the one of that name."""
    text = json.dumps(about)
    database.execute(
        "INSERT OR REPLACE INTO kept VALUES (?, ?, ?, ?)", (name, text, value, seal((name, text), value))
    )


def get_kept(database: sqlite3.Connection, name: str) -> tuple[Any, bytes] | None:
    """Return what :func:`put_kept` kept, or None."""
    rows = database.execute("SELECT about, value FROM kept WHERE name = ?", (name,)).fetchall()
    return (json.loads(rows[0][0]), rows[0][1]) if rows else None


def drop_kept(database: sqlite3.Connection, *names: str) -> None:
    """Drop kept values, if they are there."""
    database.executemany("DELETE FROM kept WHERE name = ?", [(name,) for name in names])


def put_offsets(database: sqlite3.Connection, offsets: Offsets) -> None:
    """Keep private parameters; both vectors in one row, so never one without the other."""
    about = [offsets.version, offsets.rounds, offsets.model_version]
    vectors = np.stack([offsets.offsets_S, offsets.fisher_S]).astype("<f4")
    put_kept(database, "offsets", about, vectors.tobytes())


def get_offsets(database: sqlite3.Connection) -> Offsets | None:
    """Return the private parameters, or None before the first :func:`put_offsets`."""
    found = get_kept(database, "offsets")
    if found is None:
        return None
    version, rounds, model_version = found[0]
    offsets_S, fisher_S = np.frombuffer(found[1], "<f4").astype(np.float32).reshape(2, -1)
    return Offsets(version, offsets_S, fisher_S, rounds, model_version)


def next_version(database: sqlite3.Connection) -> int:
    """Return the version of the offsets to come; none is given twice, also after some were forgotten."""
    offsets, forgotten = get_offsets(database), get_kept(database, FORGOTTEN)
    return 1 + max(offsets.version if offsets else 0, forgotten[0] if forgotten else 0)


def drop_offsets(database: sqlite3.Connection) -> None:
    """Drop the private parameters; of them only the number of their last version is kept."""
    put_kept(database, FORGOTTEN, next_version(database) - 1)
    drop_kept(database, "offsets")


def put_setting(database: sqlite3.Connection, name: str, value: Any) -> None:
    """Keep a setting, in place of the one of that name."""
    put_kept(database, SETTING + name, value)


def get_settings(database: sqlite3.Connection) -> dict[str, Any]:
    """Return all settings by name."""
    names = database.execute("SELECT name, about FROM kept ORDER BY name").fetchall()
    return {n.removeprefix(SETTING): json.loads(v) for n, v in names if n.startswith(SETTING)}
