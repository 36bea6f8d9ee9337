"""Takes events out so that their bytes are gone from every file of the folder, not only from the tables.

A deleted row leaves copies: in free pages, in the gaps of pages that were rearranged, in the log, in what a
repair set aside or was killed over. So, after the rows, the database is written anew, the log cut to nothing
and the copies deleted. A note in the file says that this is still to be done, so that a crash in between is
made up for at the next start. What a disk keeps of old files below the file system is beyond our reach.
"""

import sqlite3
from dataclasses import dataclass
from pathlib import Path

from pfsr.device.records import FORGOTTEN, ItemId, drop_kept, drop_offsets, get_kept, put_kept
from pfsr.device.refusals import FILE
from pfsr.device.schema import transaction, write_back
from pfsr.errors import PfsrError

TO_ERASE = "to erase"
LAST_SEQ = "last seq"
"""Kept when the last events go, so that their numbers are not given to others."""


@dataclass(frozen=True)
class Selection:
    """What to forget: one item, what happened before a time (ms since 1970), or everything; exactly one."""

    item: ItemId | None = None
    before: int | None = None
    everything: bool = False

    def __post_init__(self) -> None:
        if (self.item is not None) + (self.before is not None) + self.everything != 1:
            raise PfsrError("forget: name one of item, before, everything")

    def condition(self) -> tuple[str, tuple[ItemId, ...]]:
        """Return the SQL condition on events, and its values."""
        if self.item is not None:
            return "item = ?", (self.item,)
        return ("1", ()) if self.before is None else ("time_ms < ?", (self.before,))


def forget(database: sqlite3.Connection, folder: Path, selection: Selection) -> int:
    """Delete what ``selection`` names and what was computed from it; return the number of events.

    That is the live state, and, if any event went, the private offsets with their Fisher information.
    ``everything`` takes the offsets in any case, and the list of uploads; settings stay.
    """
    condition, values = selection.condition()
    with transaction(database):
        last = database.execute("SELECT max(seq) FROM events").fetchall()[0][0]
        gone = database.execute(f"DELETE FROM events WHERE {condition}", values).rowcount
        drop_kept(database, "state")
        if gone or selection.everything:
            drop_offsets(database)
        if selection.everything:
            drop_kept(database, LAST_SEQ, FORGOTTEN)
            database.execute("DELETE FROM uploads")
        elif last is not None:
            put_kept(database, LAST_SEQ, last)
        put_kept(database, TO_ERASE, True)
    erase(database, folder)
    return gone


def erase(database: sqlite3.Connection, folder: Path) -> None:
    """Remove the bytes of deleted rows from all files, if there is a note that some may be left."""
    if get_kept(database, TO_ERASE) is None:
        return
    for copy in [*folder.glob(f"{FILE}.damaged*"), *folder.glob(f"{FILE}.new*")]:
        copy.unlink()
    database.execute("VACUUM")
    write_back(database)
    with transaction(database):
        drop_kept(database, TO_ERASE)
