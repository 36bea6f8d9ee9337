"""One process per folder.

The lock is SQLite's own, on an empty file: it works wherever the database does, a second opener in the same
process is refused too, and the system lets go of it when the process dies, however it dies.
"""

import sqlite3
from pathlib import Path

from pfsr.device.refusals import explained
from pfsr.errors import PfsrError

FILE = "device.lock"


def lock_folder(folder: Path) -> sqlite3.Connection:
    """Make ``folder`` where it is missing, and hold it until the returned connection is closed.

    Raises:
        PfsrError: another store has it, or it cannot be written.
    """
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)  # a history is nobody else's to read
        return _hold(folder / FILE)
    except (OSError, sqlite3.Error) as error:
        name = getattr(error, "sqlite_errorname", "")
        if name.startswith("SQLITE_BUSY"):
            raise PfsrError(f"{folder}: in use by another process or store; close that one first") from error
        if name == "SQLITE_NOTADB":
            raise PfsrError(f"{folder / FILE}: is no lock of PFSR; delete it") from error
        raise explained(folder, error) from error


def _hold(file: Path) -> sqlite3.Connection:
    lock = sqlite3.connect(file, timeout=0, isolation_level=None, check_same_thread=False)
    try:
        lock.execute("BEGIN EXCLUSIVE")
    except sqlite3.Error:
        lock.close()
        raise
    return lock
