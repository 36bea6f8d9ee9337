"""The database file of one person: made, opened, checked, and mended.

Write-ahead log, every commit synced: what is committed survives ``kill -9`` and loss of power. Two notes in
the file say what the file alone cannot: that it is in use (a log must then lie beside it, or commits are
missing), and that bytes are still to be erased (``forgetting``).
"""

import os
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from errno import EDQUOT, EFBIG, ENOSPC
from pathlib import Path
from typing import Any

from pfsr.device.records import drop_kept, put_kept, seal
from pfsr.errors import PfsrError

FILE = "device.db"
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
_KEYS = {"events": "seq", "uploads": "number", "kept": "name"}
_MENDS = {
    "SQLITE_IOERR_SHORT_READ": "",
    "SQLITE_FULL": "free some space, then try again",
    "SQLITE_IOERR": "free some space, or check the disk, then try again",
    "SQLITE_READONLY": "allow writing to the folder and its files",
    "SQLITE_CANTOPEN": "allow writing to the folder and its files",
    "SQLITE_PERM": "allow writing to the folder and its files",
    "SQLITE_BUSY": "close the other program that has it open",
    "SQLITE_LOCKED": "close the other program that has it open",
}
"""What helps against an error of SQLite, by how its name begins; against any other, a repair does."""


@contextmanager
def told(folder: Path) -> Iterator[None]:
    """Turn what SQLite and the file system raise into one line about ``folder``.

    A ``UnicodeDecodeError`` is what Python makes of SQLite's word on a broken name.
    """
    try:
        yield
    except (sqlite3.Error, OSError, UnicodeDecodeError) as error:
        raise explained(folder, error) from error


def explained(folder: Path, error: Exception) -> PfsrError:
    """Return ``error`` as the one line a person is meant to read."""
    name = getattr(error, "sqlite_errorname", "")
    if isinstance(error, OSError):
        name = "SQLITE_FULL" if error.errno in (ENOSPC, EDQUOT, EFBIG) else "SQLITE_PERM"
    mend = next((mend for start, mend in _MENDS.items() if name.startswith(start)), "")
    return PfsrError(f"{folder}: {error}; {mend}") if mend else damaged(folder, str(error))


def damaged(folder: Path, what: str) -> PfsrError:
    """Return the error that names the repair command."""
    what = " ".join(ascii(what)[1:-1].split())[:80]
    return PfsrError(f"{folder}: {FILE} is damaged ({what}); run: pfsr device repair {folder}")


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
        _finish_repair(folder)
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
    with closing(_make(folder / f"{FILE}.new")) as database:
        write_back(database)
    _settle(folder / f"{FILE}.new", folder / FILE)


def _make(file: Path) -> sqlite3.Connection:
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


def _settle(new: Path, final: Path) -> None:
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
    for table in _KEYS:
        if not all(map(_whole, database.execute(f"SELECT * FROM {table}"))):
            raise damaged(folder, f"a row of {table} does not match its checksum")


def _whole(row: tuple[Any, ...]) -> bool:
    """Return whether a row matches its checksum, which comes last; a blob is sealed apart from the rest."""
    *values, crc = row
    blob = values.pop() if isinstance(values[-1], bytes) else b""
    return seal(values, blob) == crc


def _pragma(database: sqlite3.Connection, name: str) -> Any:
    return database.execute(f"PRAGMA {name}").fetchall()[0][0]


def _log(folder: Path) -> Path:
    return folder / f"{FILE}-wal"


def repair(folder: Path) -> None:
    """Write the database anew from every row that is whole; the live state goes, the replay brings it back.

    What was there stays beside it as ``device.db.damaged*`` until something is forgotten. Killed at any
    instant, it can be run again. The caller holds the lock.
    """
    with told(folder):
        _finish_repair(folder)
        _set_aside(folder)
        with closing(_make(folder / f"{FILE}.new")) as database:
            with transaction(database):
                _fill(database, folder)
            write_back(database)
        _settle(folder / f"{FILE}.new", folder / f"{FILE}.mended")
        _finish_repair(folder)


def _fill(database: sqlite3.Connection, folder: Path) -> None:
    for table, row in _salvaged(folder):
        marks = ", ".join("?" * len(row))
        database.execute(f"INSERT OR IGNORE INTO {table} VALUES ({marks})", row)
    drop_kept(database, "in use", "state")


def _finish_repair(folder: Path) -> None:
    """Put a mended database in its place; the old log must be gone first, or it would be applied to it."""
    mended = folder / f"{FILE}.mended"
    if mended.exists():
        for end in ("-wal", "-shm"):
            (folder / f"{FILE}{end}").unlink(missing_ok=True)
        _settle(mended, folder / FILE)


def _set_aside(folder: Path) -> None:
    """Copy the database and its log to a name that is free."""
    number = 1 + len(list(folder.glob(f"{FILE}.damaged*")))
    for end in ("", "-wal"):
        if (folder / f"{FILE}{end}").exists():
            shutil.copyfile(folder / f"{FILE}{end}", folder / f"{FILE}.damaged{number}{end}")


def _salvaged(folder: Path) -> Iterator[tuple[str, tuple[Any, ...]]]:
    """Yield table and row of everything whole, read from both ends, up to where each way breaks off."""
    if not (folder / FILE).exists():
        return
    with closing(sqlite3.connect(folder / FILE)) as database:
        for table, key in _KEYS.items():
            for order in ("ASC", "DESC"):
                statement = f"SELECT * FROM {table} ORDER BY {key} {order}"
                yield from ((table, row) for row in _readable(database, statement) if _whole(row))


def _readable(database: sqlite3.Connection, statement: str) -> Iterator[tuple[Any, ...]]:
    """Yield rows up to the first that cannot be read; ``writable_schema`` passes over a broken index."""
    with suppress(sqlite3.DatabaseError, UnicodeDecodeError):
        database.execute("PRAGMA writable_schema = 1")
        yield from database.execute(statement)
