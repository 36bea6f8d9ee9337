"""What the store tells of one person: all that is on disk, and what waits to be written."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pfsr.device.portrait import portrait
from pfsr.device.records import (
    Event,
    Offsets,
    Stamp,
    Upload,
    get_events,
    get_kept,
    get_offsets,
    get_settings,
    get_uploads,
)
from pfsr.device.refusals import told
from pfsr.device.writer import Writer
from pfsr.errors import PfsrError


class Reader:
    """Looks at one person's folder, through a connection that cannot write; from any thread.

    Attributes:
        folder: the person's folder.
    """

    def __init__(self, folder: Path, connection: sqlite3.Connection, writer: Writer) -> None:
        self.folder = folder
        self._reader = connection
        self._writer, self._guard = writer, writer.lock
        self._closed = False

    @property
    def durable(self) -> int:
        """The number of the last event that is on disk."""
        return self._writer.durable

    @property
    def failure(self) -> PfsrError | None:
        """Why the last attempt to write failed; None while all is well."""
        return self._writer.failure

    def events(self) -> list[Event]:
        """Return all accepted events in order."""
        with self._reading() as database:
            stored = get_events(database, "WHERE seq <= ? ORDER BY seq", self.durable)
            return stored + list(self._writer.pending)

    def last(self, n: int) -> list[Event]:
        """Return the last ``n`` events in order."""
        with self._reading() as database:
            pending = list(self._writer.pending)
            older = max(n - len(pending), 0)
            stored = get_events(database, "WHERE seq <= ? ORDER BY seq DESC LIMIT ?", self.durable, older)
            return (stored[::-1] + pending)[-n:] if n > 0 else []

    @property
    def count(self) -> int:
        """How many events there are."""
        with self._reading() as database:
            stored = database.execute("SELECT count(*) FROM events WHERE seq <= ?", (self.durable,))
            return stored.fetchall()[0][0] + len(self._writer.pending)

    def load_state(self) -> tuple[bytes, Stamp] | None:
        """Return the newest live state there is; its stamp says which events it still lacks."""
        with self._reading() as database:
            if self._writer.state:
                return self._writer.state
            found = get_kept(database, "state")
            return (found[1], Stamp(*found[0])) if found else None

    def offsets(self) -> Offsets | None:
        """Return the private offsets, or None before the first were saved."""
        with self._reading() as database:
            return get_offsets(database)

    def uploads(self) -> list[Upload]:
        """Return what has ever left this device, oldest first."""
        with self._reading() as database:
            return get_uploads(database)

    def settings(self) -> dict[str, Any]:
        """Return all settings."""
        with self._reading() as database:
            return get_settings(database)

    def export(self) -> dict[str, Any]:
        """Return everything there is about the person, as JSON can hold it."""
        with self._guard:
            return portrait(self.events(), self.offsets(), self.load_state(), self.uploads(), self.settings())

    @contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        with self._guard, told(self.folder):
            if self._closed:
                raise PfsrError(f"{self.folder}: the store is closed; open it again")
            yield self._reader
