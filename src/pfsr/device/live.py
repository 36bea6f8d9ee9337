"""The live state: what a person's history comes to, one step further with every event.

A state belongs to one model, one version of the private offsets and one last event, its stamp. When model
or offsets change, the history is replayed in a background thread; until that is done the old state, with the
old model and the old offsets, takes in events and answers. So state, offsets and scores are never mixed.

Where there is no old state, or it may not answer any more (it knows what was forgotten), whoever asks waits
for the replay. Whoever records does not.

Shapes: d = d_model, S private offsets, Z floats of state.
"""

import threading
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple

import numpy as np

from pfsr.device.records import Event, Stamp
from pfsr.device.runtime import Runtime
from pfsr.device.store import Store
from pfsr.model.memory import REACH

AT_ONCE = 256
"""Events that are replayed at once instead of in the background: less than a tenth of a second."""


class Basis(NamedTuple):
    """What a state is computed with: a model, and private offsets [S] of some version (0: zeros)."""

    runtime: Runtime
    offsets_S: np.ndarray
    offsets_version: int


class Track:
    """A history under one basis. The arrays are replaced, never written to, so a reader may keep them.

    Attributes:
        basis: what it is computed with.
        state: float32 [Z] after the last event.
        query: float32 [d] after the last event; zeros before the first.
        seq: the last event taken in, whether or not the catalogue knows its item.
        seen: catalogue rows in the history.
        seen_rows: the same as an array, int64, each row once.
        newest: rows of the last events, oldest first, as many as a memory of pairs reads.
    """

    def __init__(self, basis: Basis) -> None:
        self.basis = basis
        self.state = basis.runtime.start()
        self.query = np.zeros(basis.runtime.manifest.model.d_model, np.float32)
        self.seq = 0
        self.seen: set[int] = set()
        self.seen_rows = np.zeros(0, np.int64)
        self.newest: tuple[int, ...] = ()

    @property
    def stamp(self) -> Stamp:
        """What the state was computed from."""
        return Stamp(self.basis.runtime.version, self.basis.offsets_version, self.seq)

    def take(self, events: Sequence[Event]) -> None:
        """Take in events that come after those so far; unknown items wait for a newer catalogue."""
        rows = self._rows(events)
        if len(rows) == 1:
            self.state, self.query = self.basis.runtime.step(self.state, rows[0], self.basis.offsets_S)
        elif rows:
            self.state, queries = self.basis.runtime.advance(self.state, rows, self.basis.offsets_S)
            self.query = queries[-1]
        self._see(rows)
        self.seq = events[-1].seq if events else self.seq

    def dump(self) -> bytes:
        """Return state and query as bytes."""
        return np.concatenate([self.state, self.query]).astype("<f4").tobytes()

    def load(self, saved: tuple[bytes, Stamp] | None, events: Sequence[Event]) -> int:
        """Start from a saved state, if it is of this basis; return how many of ``events`` are in it."""
        if saved is None or saved[1][:2] != self.stamp[:2]:
            return 0
        values = np.frombuffer(saved[0], "<f4").astype(np.float32)
        within = sum(event.seq <= saved[1].seq for event in events)
        if len(values) != len(self.state) + len(self.query) or not within:
            return 0
        self.state, self.query = np.split(values, [len(self.state)])
        self.seq = saved[1].seq
        self._see(self._rows(events[:within]))
        return within

    def _see(self, rows: Sequence[int]) -> None:
        self.newest = (*self.newest, *rows)[-REACH:]
        fresh = [row for row in dict.fromkeys(rows) if row not in self.seen]
        if fresh:
            self.seen.update(fresh)
            self.seen_rows = np.append(self.seen_rows, fresh)

    def _rows(self, events: Sequence[Event]) -> list[int]:
        catalog = self.basis.runtime.catalog
        return [catalog.row(event.item) for event in events if catalog.known(event.item)]


class Live:
    """The state that answers, and the replay that is to follow it.

    Args:
        store: the person's events; the state is kept in it.
        guard: the device's lock: events are stored and taken in under it. The methods take it themselves.
    """

    def __init__(self, store: Store, guard: threading.RLock) -> None:
        self.current: Track | None = None
        self._store, self._guard = store, guard
        self._wanted: Basis | None = None
        self._replay: Future[None] | None = None
        self._replayed = threading.Condition(guard)
        self._pool = ThreadPoolExecutor(1, "pfsr replay")

    def take(self, event: Event) -> None:
        """Take in a new event, one step; a replay that is under way will find it in the store."""
        with self._guard:
            if self.current:
                self.current.take([event])
                self._keep(self.current)

    def answering(self) -> Track | None:
        """Return the state that answers, once there is one; None: there is no model.

        The caller may hold the lock, but must not rely on what it saw before: it is let go while waiting.

        Raises:
            PfsrError: the replay failed, and there is no old state.
        """
        with self._guard:
            self._replayed.wait_for(lambda: self.current or self._wanted is None or self._failed())
            if self.current is None and self._wanted:
                self.settle()
            return self.current

    def restart(self, basis: Basis) -> None:
        """Take the saved state up and replay what it lacks: at the beginning, and after events were
        forgotten. Until a long replay is done, :meth:`answering` waits.
        """
        with self._guard:
            self.drop()
            track, missing = self._begun(basis)
            if len(missing) > AT_ONCE:
                self._start(basis)
            else:
                track.take(missing)
                self._wanted, self.current = basis, track
                self._keep(track)

    def rebase(self, basis: Basis) -> None:
        """Replay the history under ``basis`` in the background; the old state answers until that is done."""
        with self._guard:
            if self._wanted is None:
                self.restart(basis)
            else:
                self._start(basis)

    def drop(self) -> None:
        """Forget the state, and what a replay that is under way would bring."""
        with self._guard:
            self.current = self._wanted = None
            self._replayed.notify_all()

    def settle(self) -> None:
        """Return once no replay is under way.

        Raises:
            PfsrError: the last replay failed; the old state, if there is one, goes on answering.
        """
        if self._replay:
            self._replay.result()

    def close(self) -> None:
        """Drop the state in memory and wait for the replay; the caller does not hold the lock."""
        self.drop()
        self._pool.shutdown(cancel_futures=True)

    def _failed(self) -> bool:
        return self._replay is not None and self._replay.done() and self.current is None

    def _start(self, basis: Basis) -> None:
        self._wanted = basis
        self._replay = self._pool.submit(self._follow, basis)
        self._replay.add_done_callback(self._tell)

    def _tell(self, _: object) -> None:
        with self._guard:
            self._replayed.notify_all()

    def _follow(self, basis: Basis) -> None:
        with self._guard:
            if self._wanted is not basis:
                return
            last = self._store.count
            track, missing = self._begun(basis)
        track.take(missing)
        with self._guard:
            if self._wanted is basis:
                track.take(self._store.last(self._store.count - last))
                self.current = track
                self._keep(track)

    def _begun(self, basis: Basis) -> tuple[Track, list[Event]]:
        """Return the saved state, or an empty one, and the events that it lacks."""
        track, events = Track(basis), self._store.events()
        return track, events[track.load(self._store.load_state(), events) :]

    def _keep(self, track: Track) -> None:
        self._store.save_state(track.dump(), track.stamp)
