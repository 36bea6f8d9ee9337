"""Everything the device keeps of one person, in one folder: events, private offsets, live state, settings.

An event is *accepted* when :meth:`Store.append` returns, and *durable* after the next group commit, within
some 50 ms, or when :meth:`Store.flush` or :meth:`Store.wait` returns: from then on neither ``kill -9`` nor a
power cut loses it. Events keep the order in which they arrived, whatever the clock says.
"""

import atexit
import os
import sqlite3
import time
from collections.abc import Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any, Self

import numpy as np

from pfsr.device.forgetting import LAST_SEQ, Selection, erase, forget
from pfsr.device.lock import lock_folder
from pfsr.device.reading import Reader
from pfsr.device.records import (
    Event,
    ItemId,
    Offsets,
    Stamp,
    Upload,
    check_event,
    get_events,
    get_kept,
    next_version,
    put_offsets,
    put_setting,
    put_upload,
)
from pfsr.device.refusals import told
from pfsr.device.repair import finish_repair, repair
from pfsr.device.schema import open_database, reader
from pfsr.device.writer import Writer


class Store(Reader):
    """One person's folder, held by one process at a time; every method may be called from any thread."""

    def __init__(self, folder: Path, lock: sqlite3.Connection, database: sqlite3.Connection) -> None:
        """Use :meth:`open`."""
        self._last = _last_seq(database)
        super().__init__(folder, reader(folder), Writer(database, folder, self._last))
        self._lock_file = lock
        self._process = os.getpid()
        atexit.register(self.close)

    @classmethod
    def open(cls, folder: Path) -> Self:
        """Open a person's folder, or make it.

        Raises:
            PfsrError: in use by another process; damaged; written by a newer PFSR; cannot be written.
        """
        return cls._open(Path(folder).absolute(), mend=False)

    @classmethod
    def repair(cls, folder: Path) -> Self:
        """Save every row that is whole from a damaged folder, and open it.

        The damaged files stay beside it, as ``device.db.damaged*``, until something is forgotten.

        Raises:
            PfsrError: in use by another process; cannot be written.
        """
        return cls._open(Path(folder).absolute(), mend=True)

    @classmethod
    def _open(cls, folder: Path, mend: bool) -> Self:
        with ExitStack() as undo, told(folder):
            lock = undo.enter_context(closing(lock_folder(folder)))
            if mend:
                repair(folder)
            finish_repair(folder)
            database = undo.enter_context(closing(open_database(folder)))
            erase(database, folder)
            store = cls(folder, lock, database)
            undo.pop_all()
            return store

    def append(self, item: ItemId, time_ms: int | None = None) -> Event:
        """Accept one event. The same item at the same told time is the same event, and kept once.

        Args:
            item: any id; a catalogue need not know it.
            time_ms: when it happened, milliseconds since 1970; None: now, and never a duplicate.

        Raises:
            PfsrError: an id or time that cannot be kept; closed; 10,000 events wait and the disk refuses.
        """
        check_event(item, time_ms)
        with self._guard:
            self._writer.room()
            if time_ms is not None and (first := self._find(item, time_ms)):
                return first._replace(duplicate=True)
            given = time_ms is not None
            self._last += 1
            event = Event(self._last, item, time_ms if given else _now_ms(), given=given)
            self._writer.add(event)
            return event

    def wait(self, seq: int) -> None:
        """Return once event ``seq`` is durable.

        Raises:
            PfsrError: the disk refused; the event is kept in memory, and tried again.
            ValueError: there is no event ``seq`` yet.
        """
        if seq > self._last:
            raise ValueError(f"event {seq}: the last one is {self._last}")
        self._writer.wait(seq)

    def flush(self) -> int:
        """Make all accepted events durable and return the number of the last; raises like :meth:`wait`."""
        last = self._last
        self._writer.wait(last)
        return last

    def save_state(self, blob: bytes, stamp: Stamp) -> None:
        """Keep the live state; written with a group commit now and then, and on :meth:`close`.

        A state from before :meth:`forget` must not be saved after it.
        """
        self._writer.keep_state(blob, stamp)

    def save_offsets(
        self,
        offsets_S: np.ndarray,
        fisher_S: np.ndarray,
        rounds: float,
        model_version: str,
        upload: Upload | None = None,
    ) -> int:
        """Replace the private offsets, all or nothing; return their new version once they are durable.

        Args:
            offsets_S: float32.
            fisher_S: their Fisher information.
            rounds: participations so far.
            model_version: of the model they were learned with.
            upload: what is about to leave with them; written down in the same transaction.

        Raises:
            PfsrError: the disk refused; the old ones are still there.
            ValueError: not two finite vectors of one length.
        """
        both = np.array([offsets_S, fisher_S], np.float32)
        if both.ndim != 2 or not np.isfinite(both).all():
            raise ValueError(f"offsets {both.shape}: expected two finite vectors of one length")

        def replace(database: sqlite3.Connection) -> int:
            new = Offsets(next_version(database), both[0], both[1], rounds, model_version)
            put_offsets(database, new)
            if upload:
                put_upload(database, upload)
            return new.version

        return self._writer.write(replace)

    def record_upload(self, time_ms: int, size: int, fields: Sequence[str], model_version: str) -> None:
        """Write down, durably, that ``size`` bytes leave this device; raises like :meth:`save_offsets`."""
        upload = Upload(time_ms, size, tuple(fields), model_version)
        self._writer.write(lambda database: put_upload(database, upload))

    def set_setting(self, name: str, value: Any) -> None:
        """Keep a value that JSON can hold, durably; raises like :meth:`save_offsets`."""
        self._writer.write(lambda database: put_setting(database, name, value))

    def forget(
        self, *, item: ItemId | None = None, before: int | None = None, everything: bool = False
    ) -> int:
        """Erase events, and live state and private offsets with them, from every file; return how many went.

        Args:
            item: all events of this item.
            before: all events before this time, milliseconds since 1970.
            everything: all events, the private offsets and the list of uploads; settings stay.

        Raises:
            PfsrError: not one of the three; or the disk refused: what is deleted but not erased yet will be
                at the next opening.
        """
        selection = Selection(item, before, everything)

        def job(database: sqlite3.Connection) -> int:
            try:
                return forget(database, self.folder, selection)
            finally:
                self._writer.drop_state()

        return self._writer.run(job)

    def close(self) -> None:
        """Make everything durable and let go of the folder; done again, it does nothing.

        Raises:
            PfsrError: events could not be written; the store stays open, with them in memory.
        """
        if self._closed or os.getpid() != self._process:
            return
        self._writer.stop()
        self._closed = True
        self._reader.close()
        self._lock_file.close()
        atexit.unregister(self.close)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _find(self, item: ItemId, time_ms: int) -> Event | None:
        """Return the event of this item at this told time; the caller holds the lock."""
        if event := self._writer.same(item, time_ms):
            return event
        with self._reading() as database:
            found = get_events(database, "WHERE given AND time_ms = ? AND item = ?", time_ms, item)
            return found[0] if found else None


def _last_seq(database: sqlite3.Connection) -> int:
    floor = get_kept(database, LAST_SEQ)
    last = database.execute("SELECT max(seq) FROM events").fetchall()[0][0]
    return max(last or 0, floor[0] if floor else 0)


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
