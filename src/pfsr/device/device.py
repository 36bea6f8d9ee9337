"""A whole device in a few verbs: record, recommend, learn, update the model, look at and forget one's data.

    with Device.open("person", model="device-model") as device:
        device.record("item-7")
        for found in device.recommend(5):
            print(found.title, found.score)

Everything of the person lies in that one folder. Any thread may call anything. Neither PyTorch nor polars is
imported, but for :meth:`Device.learn`.
"""

import threading
import time
from collections.abc import Callable, Hashable, Iterable
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np

from pfsr.device.learning import Before, Learned, check_installed, learn
from pfsr.device.live import Basis, Live, Track
from pfsr.device.models import Models
from pfsr.device.records import Event, ItemId, Offsets
from pfsr.device.runtime import Runtime
from pfsr.device.store import Store
from pfsr.errors import PfsrError

PAUSED = "learning paused"
"""The setting that forbids :meth:`Device.learn`."""


class Recommendation(NamedTuple):
    """An item, its title (or its id as text) and its score; a higher score is more likely next."""

    item_id: Hashable
    title: str
    score: float


class ModelChange(NamedTuple):
    """What a change of the model meant.

    Attributes:
        version: of the model in use now.
        previous: of the one that :meth:`Device.rollback` returns to.
        offsets: ``kept``, ``reset`` (the model has other sites: the person starts as the global model, until
            learning or a rollback) or ``none`` (nothing was learned yet).
        waiting: events of items that the catalogue does not know; they are kept for a newer one.
    """

    version: str
    previous: str | None
    offsets: str
    waiting: int


class LearnReport(NamedTuple):
    """What learning did.

    Attributes:
        steps: how many were taken before the time was up.
        events: of the history, with items that the catalogue knows.
        loss_before, loss_after: mean loss per event of the stretch that was learned from.
        kept: whether the new offsets are in use; not if no step was taken, or if model or data were changed
            meanwhile.
    """

    steps: int
    events: int
    loss_before: float
    loss_after: float
    kept: bool


class _Lesson(NamedTuple):
    """What is learned from, and how often model or data had changed when it was taken."""

    basis: Basis
    rows: list[int]
    before: Before
    changes: int


class Device:
    """One person's device; see the module's text."""

    def __init__(self, store: Store) -> None:
        """Use :meth:`open`."""
        self._store, self._models = store, Models(store)
        self._guard, self._learning = threading.RLock(), threading.Lock()
        self._live = Live(store, self._guard)
        self._basis: Basis | None = None
        self._changes = 0
        self._closed = False

    @classmethod
    def open(cls, folder: str | Path, model: str | Path | None = None) -> Self:
        """Open a person's folder, or make it.

        Args:
            folder: the person's folder.
            model: a folder that ``pfsr export`` wrote; it is copied in and used from now on. None: the model
                of last time; without one, events are kept, and recommended is nothing.

        Raises:
            PfsrError: the folder is in use, damaged or cannot be written; so with the model.
        """
        with ExitStack() as undo:
            store = undo.enter_context(Store.open(Path(folder)))
            device = cls(store)
            undo.callback(device._live.close)
            current = device._models.in_use.current
            if model is not None:
                device.update_model(model)
            elif current is not None:
                device._restart(Runtime.open(device._models.path(current)))
            undo.pop_all()
            return device

    def record(self, item: ItemId, time_ms: int | None = None) -> Event:
        """Take in one event: it is accepted at once, and durable some 50 ms later or after :meth:`flush`.

        Args:
            item: any item id; one that the catalogue does not know is used once a newer one does.
            time_ms: when it happened, milliseconds since 1970. The same item at the same time is the same
                event. None: now.

        Raises:
            PfsrError: an id or a time that cannot be kept; or 10,000 events wait and the disk refuses.
        """
        with self._guard:
            event = self._store.append(item, time_ms)
            if not event.duplicate:
                self._live.take(event)
            return event

    def recommend(self, k: int = 10, exclude: Iterable[ItemId] = ()) -> list[Recommendation]:
        """Return the ``k`` best next items, best first, without those seen; fewer where fewer are left.

        Args:
            k: how many.
            exclude: more items to leave out; unknown ones do no harm.

        Raises:
            PfsrError: there is no model yet, or ``k`` is not positive.
        """
        with self._guard:
            track = self._track()
            query, left_out = track.query, set(track.seen)
        runtime, catalog = track.basis.runtime, track.basis.runtime.catalog
        left_out |= {catalog.row(item) for item in exclude if catalog.known(item)}
        rows, scores = runtime.best(query, k, list(left_out))
        ids = [catalog.item_id(row) for row in rows.tolist()]
        titles = [catalog.title(row) for row in rows.tolist()]
        return [Recommendation(*found) for found in zip(ids, titles, scores.tolist(), strict=True)]

    def learn(
        self,
        steps: int = 4,
        seconds: float | None = None,
        should_stop: Callable[[], bool] = lambda: False,
    ) -> LearnReport:
        """Adapt the private offsets to the person's own events; nothing leaves the device.

        A crash leaves the old offsets. Meanwhile events are taken in and items recommended as before.

        Args:
            steps: the most steps.
            seconds: no step begins after so long; None: no limit.
            should_stop: asked before every step.

        Raises:
            PfsrError: PyTorch is missing, learning is paused, no model, fewer than two events; or the disk
                refused the new offsets: the old ones are still there.
        """
        check_installed()
        ends = None if seconds is None else time.monotonic() + seconds
        with self._learning:
            lesson = self._lesson()

            def stop() -> bool:
                late = ends is not None and time.monotonic() >= ends
                return late or self._changes != lesson.changes or should_stop()

            model = self._models.path(lesson.basis.runtime.version)
            learned = learn(model, lesson.rows, lesson.before, steps, stop)
            kept = self._take_over(lesson, learned)
        return LearnReport(learned.steps, len(lesson.rows), learned.loss_before, learned.loss_after, kept)

    def pause_learning(self, paused: bool = True) -> None:
        """Forbid learning, or allow it again; remembered."""
        self._store.set_setting(PAUSED, paused)

    def update_model(self, path: str | Path) -> ModelChange:
        """Copy in a device model and use it; until the history is replayed, the old one answers.

        Items are found by id, whatever their place in the new catalogue.

        Raises:
            PfsrError: no whole device model, or it cannot be copied; the old one is still in use.
        """
        with self._guard:
            return self._use(self._models.add(Path(path)))

    def rollback(self) -> ModelChange:
        """Use the model before the current one again; done twice, it changes nothing.

        Raises:
            PfsrError: there is none, or it is damaged; the current one is still in use.
        """
        with self._guard:
            previous = self._models.in_use.previous
            if previous is None:
                raise PfsrError("no model before the current one; name one with update_model")
            return self._use(previous)

    def settle(self) -> None:
        """Return once the newest model and offsets answer.

        Raises:
            PfsrError: the replay failed; the old state goes on answering.
        """
        self._live.settle()

    @property
    def model_version(self) -> str | None:
        """The version of the model that answers now."""
        track = self._live.current
        return track.basis.runtime.version if track else None

    def export(self) -> dict[str, Any]:
        """Return everything there is about the person, as JSON can hold it."""
        return self._store.export()

    def forget(
        self, *, item: ItemId | None = None, before: int | None = None, everything: bool = False
    ) -> int:
        """Erase events, from every file and from the live state; return how many went.

        Args:
            item: all events of this item.
            before: all events before this time, milliseconds since 1970.
            everything: all events, the private offsets and the list of uploads.

        Raises:
            PfsrError: not one of the three; or the disk refused.
        """
        with self._guard:
            self._changes += 1
            self._live.drop()
            try:
                return self._store.forget(item=item, before=before, everything=everything)
            finally:
                if self._basis:
                    self._restart(self._basis.runtime)

    def flush(self) -> int:
        """Make all events durable; return the number of the last.

        Raises:
            PfsrError: the disk refused; the events are kept in memory, and tried again.
        """
        return self._store.flush()

    def close(self) -> None:
        """Make everything durable and let go of the folder; done again, it does nothing.

        Raises:
            PfsrError: events could not be written; the folder stays open, with them in memory.
        """
        with self._guard:
            self._changes += 1
            self._store.close()
            self._closed = True
        self._live.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _use(self, version: str) -> ModelChange:
        runtime, offsets = Runtime.open(self._models.path(version)), self._store.offsets()
        self._models.use(version, offsets)
        self._changes += 1
        self._basis = self._with_offsets(runtime)
        self._live.rebase(self._basis)
        kept = "kept" if self._basis.offsets_version else "reset" if offsets else "none"
        waiting = sum(not runtime.catalog.known(event.item) for event in self._store.events())
        return ModelChange(version, self._models.in_use.previous, kept, waiting)

    def _restart(self, runtime: Runtime) -> None:
        self._basis = self._with_offsets(runtime)
        self._live.restart(self._basis)

    def _with_offsets(self, runtime: Runtime) -> Basis:
        offsets = self._fitting(runtime)
        if offsets is None:
            return Basis(runtime, np.zeros(runtime.sites.total, np.float32), 0)
        return Basis(runtime, offsets.offsets_S, offsets.version)

    def _fitting(self, runtime: Runtime) -> Offsets | None:
        offsets = self._store.offsets()
        return offsets if self._models.fitting(offsets, runtime.sites) else None

    def _lesson(self) -> _Lesson:
        with self._guard:
            if self._store.settings().get(PAUSED):
                raise PfsrError("learning is paused; allow it again with pause_learning(False)")
            self._track()
            assert self._basis is not None
            known = self._basis.runtime.catalog
            rows = [known.row(event.item) for event in self._store.events() if known.known(event.item)]
            return _Lesson(self._basis, rows, self._before(self._basis), self._changes)

    def _before(self, basis: Basis) -> Before:
        if offsets := self._fitting(basis.runtime):
            return Before(offsets.offsets_S, offsets.fisher_S, offsets.rounds)
        return Before(basis.offsets_S, np.zeros_like(basis.offsets_S), 0)

    def _take_over(self, lesson: _Lesson, learned: Learned) -> bool:
        """Save and use what was learned, unless what it was learned from has changed."""
        with self._guard:
            if lesson.changes != self._changes or not learned.steps:
                return False
            runtime, rounds = lesson.basis.runtime, lesson.before.rounds + 1
            version = self._store.save_offsets(*learned[:2], rounds, runtime.version)
            self._basis = Basis(runtime, learned.offsets_S, version)
            self._live.rebase(self._basis)
            return True

    def _track(self) -> Track:
        if self._closed:
            raise PfsrError(f"{self._store.folder}: the device is closed; open it again")
        if self._live.current is None:
            raise PfsrError("no model yet; name one with Device.open(folder, model=...) or update_model")
        return self._live.current
