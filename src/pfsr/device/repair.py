"""Saves what is whole of a damaged database.

Everything is written anew beside it and put in its place by one rename, so a repair that is killed has
changed nothing, or is finished at the next start.
"""

import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

from pfsr.device.records import drop_kept
from pfsr.device.refusals import FILE, told
from pfsr.device.schema import KEYS, make, settle, transaction, whole, write_back


def repair(folder: Path) -> None:
    """Write the database anew from every row that is whole; the live state goes, the replay brings it back.

    What was there stays beside it as ``device.db.damaged*`` until something is forgotten. Killed at any
    instant, it can be run again. The caller holds the lock.
    """
    with told(folder):
        finish_repair(folder)
        _set_aside(folder)
        with closing(make(folder / f"{FILE}.new")) as database:
            with transaction(database):
                _fill(database, folder)
            write_back(database)
        settle(folder / f"{FILE}.new", folder / f"{FILE}.mended")
        finish_repair(folder)


def finish_repair(folder: Path) -> None:
    """Put a mended database in its place; the old log must be gone first, or it would be applied to it."""
    mended = folder / f"{FILE}.mended"
    if mended.exists():
        for end in ("-wal", "-shm"):
            (folder / f"{FILE}{end}").unlink(missing_ok=True)
        settle(mended, folder / FILE)


def _fill(database: sqlite3.Connection, folder: Path) -> None:
    for table, row in _salvaged(folder):
        marks = ", ".join("?" * len(row))
        database.execute(f"INSERT OR IGNORE INTO {table} VALUES ({marks})", row)
    drop_kept(database, "in use", "state")


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
        for table, key in KEYS.items():
            for order in ("ASC", "DESC"):
                statement = f"SELECT * FROM {table} ORDER BY {key} {order}"
                yield from ((table, row) for row in _readable(database, statement) if whole(row))


def _readable(database: sqlite3.Connection, statement: str) -> Iterator[tuple[Any, ...]]:
    """Yield rows up to the first that cannot be read; ``writable_schema`` passes over a broken index."""
    with suppress(sqlite3.DatabaseError, UnicodeDecodeError):
        database.execute("PRAGMA writable_schema = 1")
        yield from database.execute(statement)
