"""Group commit: the one thread that writes to the database.

Events are accepted at once and wait in memory; the thread gathers them for a moment and commits them
together, so that one sync of the disk pays for many. A commit that fails loses nothing: the events stay
where they are, whoever waits is told, and the next attempt takes them again.
"""

import sqlite3
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from pathlib import Path
from typing import Any

from pfsr.device.records import Event, ItemId, Stamp, get_kept, put_events, put_kept
from pfsr.device.refusals import explained
from pfsr.device.schema import close_database, transaction, write_back
from pfsr.errors import PfsrError

GATHER_S = 0.02
"""How long events are gathered before a commit; leaves 30 ms of the promised 50 ms to the disk."""

RETRY_S = 1.0
"""Wait between attempts while commits fail and nobody asks."""

BACKLOG = 10_000
"""Most events kept in memory; beyond it, new ones wait for the disk, or are refused if commits fail."""

STATE_EVERY = 64
"""Events between two writes of the live state: what replay at the next start may cost, against wear."""

Job = Callable[[sqlite3.Connection], Any]


class Writer:
    """Owns the writing connection. Everything below is guarded by ``lock``.

    Attributes:
        pending: events accepted, not yet durable, in order.
        durable: last event that is on disk.
        state: newest live state that is not on disk, with its stamp.
        failure: why the last commit failed; None after one that did not.
    """

    def __init__(self, database: sqlite3.Connection, folder: Path, durable: int) -> None:
        self.lock = threading.RLock()
        self.pending: deque[Event] = deque()
        self.durable = durable
        self.state: tuple[bytes, Stamp] | None = None
        self.failure: PfsrError | None = None
        self._database, self._folder = database, folder
        self._written = _written_stamp(database)
        self._told: dict[tuple[ItemId, int], Event] = {}
        self._jobs: deque[tuple[Job, Future[Any]]] = deque()
        self._failures = 0
        self._urgent = self._closed = False
        self._open = True
        self._work, self._done = threading.Condition(self.lock), threading.Condition(self.lock)
        self._thread = threading.Thread(target=self._loop, name=f"pfsr writer {folder}", daemon=True)
        self._thread.start()

    def add(self, event: Event) -> None:
        """Accept an event. The caller holds the lock and has made :meth:`room`."""
        self.pending.append(event)
        if event.given:
            self._told[event.item, event.time_ms] = event
        if len(self.pending) == 1:
            self._work.notify()

    def same(self, item: ItemId, time_ms: int) -> Event | None:
        """Return the pending event of this item at this told time; the caller holds the lock."""
        return self._told.get((item, time_ms))

    def room(self) -> None:
        """Wait until one more event may be accepted; the caller holds the lock.

        Raises:
            PfsrError: closed; or the backlog is full, and commits fail.
        """
        self._check_open()
        while len(self.pending) >= BACKLOG:
            if self.failure:
                raise PfsrError(f"{self.failure} (not recorded: {BACKLOG:,} events wait to be written)")
            self._hurry()
            self._done.wait()

    def keep_state(self, blob: bytes, stamp: Stamp) -> None:
        """Hold the live state until it is due: with 64 events more, other versions, or at the end."""
        with self.lock:
            self.state = blob, stamp
            if self._state_due():
                self._work.notify()

    def wait(self, seq: int) -> None:
        """Return once event ``seq`` is durable; commits now.

        Raises:
            PfsrError: the commit failed; the events are kept and tried again.
        """
        with self.lock:
            failures = self._failures
            while self.durable < seq:
                self._hurry()
                self._done.wait()
                if self._failures > failures and self.failure:
                    waiting = f"{len(self.pending):,} events wait in memory"
                    raise PfsrError(f"{self.failure} ({waiting})") from self.failure

    def run(self, job: Job) -> Any:
        """Return what ``job`` returns, run in the writing thread once all events before it are durable."""
        with self.lock:
            self._check_open()
            future = self._ask(job)
        return future.result()

    def write(self, job: Job) -> Any:
        """Return what ``job`` returns, run like :meth:`run` and committed whole or not at all."""

        def whole(database: sqlite3.Connection) -> Any:
            with transaction(database):
                return job(database)

        return self.run(whole)

    def stop(self) -> None:
        """Write what is left, the state included, and close the connection.

        Raises:
            PfsrError: some events could not be written; the writer goes on, so that it can be tried again.
        """
        with self.lock:
            self._check_open()
            self._closed = True
            future = self._ask(self._finish)
        try:
            future.result()
        except BaseException:
            self._closed = False
            raise
        self._thread.join()

    def drop_state(self) -> None:
        """Forget the live state that is in memory; the one on disk is the caller's."""
        with self.lock:
            self.state = self._written = None

    def _check_open(self) -> None:
        if self._closed:
            raise PfsrError(f"{self._folder}: the store is closed; open it again")

    def _ask(self, job: Job) -> Future[Any]:
        future: Future[Any] = Future()
        self._jobs.append((job, future))
        self._hurry()
        return future

    def _hurry(self) -> None:
        self._urgent = True
        self._work.notify()

    def _loop(self) -> None:
        while self._open:
            self._gather()
            self._attempt()

    def _gather(self) -> None:
        """Wait for something to write, then for more of it."""
        with self.lock:
            self._work.wait_for(lambda: self._urgent or self.pending or self._state_due())
            self._work.wait_for(lambda: self._urgent, RETRY_S if self.failure else GATHER_S)
            self._urgent = False

    def _attempt(self) -> None:
        with self.lock:
            events, jobs = list(self.pending), list(self._jobs)
            state = self.state if self._state_due() else None
            self._jobs.clear()
        try:
            self._commit(events, state)
        except Exception as error:
            self._failed(error, jobs)
        else:
            self._succeeded(len(events), state)
            for job, future in jobs:
                self._do(job, future)

    def _commit(self, events: list[Event], state: tuple[bytes, Stamp] | None) -> None:
        if not events and state is None:
            return
        with transaction(self._database):
            put_events(self._database, events)
            if state:
                put_kept(self._database, "state", state[1], state[0])
        if state:
            with suppress(sqlite3.Error):  # all is durable by now; only the log stays as long as a state is
                write_back(self._database)

    def _succeeded(self, events: int, state: tuple[bytes, Stamp] | None) -> None:
        with self.lock:
            for _ in range(events):
                event = self.pending.popleft()
                self.durable = event.seq
                if event.given:
                    del self._told[event.item, event.time_ms]
            self.failure = None
            self._state_written(state)
            self._done.notify_all()

    def _failed(self, error: Exception, jobs: list[tuple[Job, Future[Any]]]) -> None:
        with self.lock:
            self.failure = explained(self._folder, error)
            self._failures += 1
            self._done.notify_all()
        for _, future in jobs:
            future.set_exception(self.failure)

    def _do(self, job: Job, future: Future[Any]) -> None:
        try:
            future.set_result(job(self._database))
        except (sqlite3.Error, OSError) as error:
            future.set_exception(explained(self._folder, error))
        except Exception as error:
            future.set_exception(error)

    def _state_due(self) -> bool:
        """Return whether the state differs enough from the one on disk."""
        if self.state is None:
            return False
        stamp, written = self.state[1], self._written
        return written is None or stamp[:2] != written[:2] or stamp.seq - written.seq >= STATE_EVERY

    def _finish(self, database: sqlite3.Connection) -> None:
        """Write the state and close; where the disk refuses, close without: a replay makes up for it."""
        try:
            self._commit([], self.state)
            close_database(database)
        except sqlite3.Error:
            database.close()
        self._open = False

    def _state_written(self, state: tuple[bytes, Stamp] | None) -> None:
        if state:
            self._written = state[1]
            self.state = None if self.state is state else self.state


def _written_stamp(database: sqlite3.Connection) -> Stamp | None:
    found = get_kept(database, "state")
    return Stamp(*found[0]) if found else None
