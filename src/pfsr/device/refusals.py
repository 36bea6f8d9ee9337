"""What SQLite and the file system raise, as one line that says what to do."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from errno import EDQUOT, EFBIG, ENOSPC
from pathlib import Path

from pfsr.errors import PfsrError

FILE = "device.db"
"""The database of a person's folder."""

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
