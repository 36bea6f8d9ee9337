"""What a device answers with: one model, one set of private offsets, one state, and how they change together.

Every change goes through here, under one lock, so that nothing is ever computed from two versions. Whoever
takes long (a replay, a lesson) notes ``changes`` first and compares it at the end.

Shapes: S private offsets.
"""

import threading
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from pfsr.device.live import Basis, Live, Track
from pfsr.device.models import Models
from pfsr.device.records import Event, Offsets
from pfsr.device.reports import ModelChange
from pfsr.device.runtime import Runtime
from pfsr.device.store import Store
from pfsr.errors import PfsrError


class Moment(NamedTuple):
    """Model, offsets and history at one moment.

    Attributes:
        basis: model and offsets.
        rows: the history as catalogue rows, oldest first, without the items that the catalogue lacks.
        waiting: how many events it lacks.
        changes: how often model, offsets or history had been changed.
    """

    basis: Basis
    rows: list[int]
    waiting: int
    changes: int


class Engine:
    """The model, offsets and state of one person's device.

    Attributes:
        store: the person's events; closed by whoever opened it.
        models: the device models in the folder.
        live: the state that answers.
        guard: held for every change, and for every look that must not be torn.
        changes: grows when something is done after which a lesson under way must not be kept.
        closed: whether nothing more may be asked.
    """

    def __init__(self, store: Store) -> None:
        self.store, self.models = store, Models(store)
        self.guard = threading.RLock()
        self.live = Live(store, self.guard)
        self.changes = 0
        self.closed = False
        self._basis: Basis | None = None

    def start(self) -> None:
        """Take up the model of last time, if there is one.

        Raises:
            PfsrError: it is damaged.
        """
        current = self.models.in_use.current
        if current is not None:
            self._restart(Runtime.open(self.models.path(current)))

    def record(self, event: Event) -> None:
        """Move the state on by an event that was just stored; the caller holds the lock."""
        if not event.duplicate:
            self.live.take(event)

    def use(self, version: str) -> ModelChange:
        """Use a model that lies in the folder; the old one answers until the history is replayed.

        Raises:
            PfsrError: the model is damaged; the old one is still in use.
        """
        with self.guard:
            runtime, offsets = Runtime.open(self.models.path(version)), self.store.offsets()
            self.models.use(version, offsets)
            self.changes += 1
            self._basis = self._with_offsets(runtime)
            self.live.rebase(self._basis)
            kept = "kept" if self._basis.offsets_version else "reset" if offsets else "none"
            waiting = _waiting(runtime, self.store.events())
            return ModelChange(version, self.models.in_use.previous, kept, waiting)

    def forget(self, item: str | int | None, before: int | None, everything: bool) -> int:
        """Erase events and what was computed from them; return how many went. See ``Store.forget``."""
        with self.guard:
            self.changes += 1
            self.live.drop()
            try:
                return self.store.forget(item=item, before=before, everything=everything)
            finally:
                if self._basis:
                    self._restart(self._basis.runtime)

    def offsets(self, runtime: Runtime) -> Offsets | None:
        """Return the private offsets that were learned, if they fit the sites of this model."""
        offsets = self.store.offsets()
        return offsets if self.models.fitting(offsets, runtime.sites) else None

    def adopt(self, offsets_S: np.ndarray, version: int) -> None:
        """Answer with new offsets, which are stored already; the caller holds the lock."""
        assert self._basis is not None
        self._basis = Basis(self._basis.runtime, offsets_S, version)
        self.live.rebase(self._basis)

    def track(self) -> Track:
        """Return the state that answers; waits where a replay must be done first.

        Raises:
            PfsrError: closed, there is no model yet, or the replay failed.
        """
        with self.guard:
            track = self.live.answering()
            if self.closed:
                raise PfsrError(f"{self.store.folder}: the device is closed; open it again")
            if track is None:
                raise PfsrError("no model yet; name one with Device.open(folder, model=...) or update_model")
            return track

    @property
    def basis(self) -> Basis | None:
        """Model and offsets that answer now, or will once the first replay is done; None: no model."""
        track = self.live.current
        return track.basis if track else self._basis

    def answering(self) -> Moment:
        """Return what answers now, which a replay may be about to follow; raises like :meth:`track`."""
        with self.guard:
            return self.moment(self.track().basis)

    def newest(self) -> Moment:
        """Return the newest model and offsets, whether or not they answer yet; raises like :meth:`track`."""
        with self.guard:
            self.track()  # waits, if at all, before anything is looked at
            assert self._basis is not None
            return self.moment(self._basis)

    def close(self) -> None:
        """Close the store, then wait for what is under way; raises like ``Store.close``."""
        with self.guard:
            self.changes += 1
            self.store.close()
            self.closed = True
        self.live.close()

    def moment(self, basis: Basis) -> Moment:
        """Return the history under this model and these offsets; the caller holds the lock."""
        events, catalog = self.store.events(), basis.runtime.catalog
        rows = [catalog.row(event.item) for event in events if catalog.known(event.item)]
        return Moment(basis, rows, len(events) - len(rows), self.changes)

    def _restart(self, runtime: Runtime) -> None:
        self._basis = self._with_offsets(runtime)
        self.live.restart(self._basis)

    def _with_offsets(self, runtime: Runtime) -> Basis:
        offsets = self.offsets(runtime)
        if offsets is None:
            return Basis(runtime, np.zeros(runtime.sites.total, np.float32), 0)
        return Basis(runtime, offsets.offsets_S, offsets.version)


def _waiting(runtime: Runtime, events: Iterable[Event]) -> int:
    return sum(not runtime.catalog.known(event.item) for event in events)
