"""The database file of one person: made, opened and checked.

Write-ahead log, every commit synced: what is committed survives ``kill -9`` and loss of power. Two notes in
the file say what the file alone cannot: that it is in use (a log must then lie beside it, or commits are
missing), and that bytes are still to be erased (``forgetting``).
"""

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from pfsr.device.records import drop_kept, put_kept, seal
from pfsr.device.refusals import FILE, damaged, told
from pfsr.errors import PfsrError

VERSION = 1
APPLICATION = 0x50465352
"""``PFSR``, in the header of the file."""

TABLES = (
    "CREATE TABLE events (seq INTEGER PRIMARY KEY, item NOT NULL, time_ms INTEGER NOT NULL,"
    " given INTEGER NOT NULL, crc INTEGER NOT NULL)",
    "CREATE INDEX events_by_time ON events (time_ms) WHERE given",
    "CREATE TABLE uploads (number INTEGER PRIMARY KEY, time_ms INTEGER NOT NULL, bytes INTEGER NOT NULL,"
    " fields TEXT NOT NULL, model_version TEXT NOT NULL, crc INTEGER NOT NULL)",
    "CREATE TABLE kept (name TEXT PRIMARY KEY, about TEXT NOT NULL, value BLOB NOT NULL,"
    " crc INTEGER NOT NULL) WITHOUT ROWID",
)
LOG_PAGES = 6
"""The log is written back once it has this many pages: with 1,000 events it must not outgrow the data."""

_SETTINGS = (
    "PRAGMA journal_mode = WAL",
    "PRAGMA synchronous = FULL",
    "PRAGMA fullfsync = 1",
    f"PRAGMA wal_autocheckpoint = {LOG_PAGES}",
    f"PRAGMA journal_size_limit = {LOG_PAGES * 4096}",
    "PRAGMA secure_delete = 1",
    "PRAGMA temp_store = MEMORY",
    "PRAGMA busy_timeout = 5000",
)
KEYS = {"events": "seq", "uploads": "number", "kept": "name"}
"""The tables, and what their rows go by."""


@contextmanager
def transaction(database: sqlite3.Connection) -> Iterator[None]:
    """All or nothing, and synced once it is all."""
    database.execute("BEGIN IMMEDIATE")
    try:
        yield
        database.execute("COMMIT")
    except BaseException:
        if database.in_transaction:
            database.execute("ROLLBACK")
        raise


def write_back(database: sqlite3.Connection) -> None:
    """Move the whole log into the database and cut it to zero bytes."""
    busy = database.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()[0][0]
    if busy:
        error = sqlite3.OperationalError("the log is being read")
        error.sqlite_errorname = "SQLITE_BUSY"
        raise error


def open_database(folder: Path) -> sqlite3.Connection:
    """Return a connection for writing; the database is made where there is none, and checked where there is.

    Raises:
        PfsrError: damaged, made by a newer PFSR, or not writable.
    """
    with told(folder):
        if not (folder / FILE).exists():
            _begin(folder)
        _check_file(folder)
        database = connect(folder / FILE)
        try:
            _check(database, folder)
            with transaction(database):
                put_kept(database, "in use", True)
            write_back(database)
        except BaseException:
            database.close()
            raise
        return database


def close_database(database: sqlite3.Connection) -> None:
    """Say in the file that nothing is missing from it, and close it; the log then goes away."""
    with transaction(database):
        drop_kept(database, "in use")
    write_back(database)
    database.close()


def connect(file: Path) -> sqlite3.Connection:
    """Return a connection with the store's settings; any thread may use it, one at a time."""
    database = sqlite3.connect(file, isolation_level=None, check_same_thread=False)
    try:
        for setting in _SETTINGS:
            database.execute(setting).fetchall()
    except BaseException:
        database.close()
        raise
    return database


def reader(folder: Path) -> sqlite3.Connection:
    """Return a second connection, which cannot write."""
    database = connect(folder / FILE)
    database.execute("PRAGMA query_only = 1")
    return database


def _begin(folder: Path) -> None:
    """Make an empty database, whole or not at all: a file of zero bytes is then never one of ours."""
    if _log(folder).exists() and _log(folder).stat().st_size:
        raise damaged(folder, "it is gone, though its log is there")
    with closing(make(folder / f"{FILE}.new")) as database:
        write_back(database)
    settle(folder / f"{FILE}.new", folder / FILE)


def make(file: Path) -> sqlite3.Connection:
    """Return a connection to a new database in place of ``file``."""
    for end in ("", "-wal", "-shm"):
        file.with_name(f"{file.name}{end}").unlink(missing_ok=True)
    database = connect(file)
    with transaction(database):
        for statement in TABLES:
            database.execute(statement)
        database.execute(f"PRAGMA application_id = {APPLICATION}")
        database.execute(f"PRAGMA user_version = {VERSION}")
    return database


def settle(new: Path, final: Path) -> None:
    """Rename a file that is written out, and see the new name onto the disk."""
    new.replace(final)
    if os.name == "posix":
        handle = os.open(final.parent, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _check_file(folder: Path) -> None:
    """Look at the file before SQLite does: it would start afresh in an empty one, and without a log."""
    if (folder / FILE).stat().st_size == 0:
        raise damaged(folder, "it is empty")
    if not _log(folder).exists() and _left_open(folder):
        raise damaged(folder, f"its log {_log(folder).name} is gone, and events with it")


def _left_open(folder: Path) -> bool:
    """Return whether the database itself, without any log, says that it is in use."""
    address = f"{(folder / FILE).resolve().as_uri()}?immutable=1"
    with closing(sqlite3.connect(address, uri=True)) as database:
        return bool(database.execute("SELECT 1 FROM kept WHERE name = 'in use'").fetchall())


def _check(database: sqlite3.Connection, folder: Path) -> None:
    """Refuse what is not exactly as this version of PFSR wrote it."""
    if (version := _pragma(database, "user_version")) > VERSION:
        raise PfsrError(f"{folder}: written by a newer PFSR (store version {version}); update PFSR")
    tables = {sql for (sql,) in database.execute("SELECT sql FROM sqlite_schema WHERE sql NOT NULL")}
    if (_pragma(database, "application_id"), version, tables) != (APPLICATION, VERSION, set(TABLES)):
        raise damaged(folder, "it is not a device's database")
    if (found := _pragma(database, "integrity_check(1)")) != "ok":
        raise damaged(folder, str(found))
    for table in KEYS:
        if not all(map(whole, database.execute(f"SELECT * FROM {table}"))):
            raise damaged(folder, f"a row of {table} does not match its checksum")


def whole(row: tuple[Any, ...]) -> bool:
    """Return whether a row matches its checksum, which comes last; a blob is sealed apart from the rest."""
    *values, crc = row
    blob = values.pop() if isinstance(values[-1], bytes) else b""
    return seal(values, blob) == crc


def _pragma(database: sqlite3.Connection, name: str) -> Any:
    return database.execute(f"PRAGMA {name}").fetchall()[0][0]


def _log(folder: Path) -> Path:
    return folder / f"{FILE}-wal"
