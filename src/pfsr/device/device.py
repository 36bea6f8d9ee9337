"""A whole device in a few verbs: record, recommend, learn, update the model, look at and forget one's data.

    with Device.open("person", model="device-model") as device:
        device.record("item-7")
        for found in device.recommend(5):
            print(found.title, found.score)

Everything of the person lies in that one folder. Any thread may call anything. Neither PyTorch nor polars is
imported, but for :meth:`Device.learn` and :meth:`Device.take_part`.
"""

from collections.abc import Callable, Iterable
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Self

import numpy as np

from pfsr.data.catalog import Catalog
from pfsr.device.engine import Engine
from pfsr.device.learner import Learner
from pfsr.device.records import Event, ItemId, Upload
from pfsr.device.reports import LearnReport, ModelChange, Recommendation, Snapshot, Status
from pfsr.device.store import Store
from pfsr.errors import PfsrError


class Device:
    """One person's device; see the module's text."""

    def __init__(self, store: Store) -> None:
        """Use :meth:`open`."""
        self._store = store
        self._engine = Engine(store)
        self._learner = Learner(self._engine)

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
            undo.callback(device._engine.live.close)
            if model is not None:
                device.update_model(model)
            else:
                device._engine.start()
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
        with self._engine.guard:
            event = self._store.append(item, time_ms)
            self._engine.record(event)
            return event

    def recommend(self, k: int = 10, exclude: Iterable[ItemId] = ()) -> list[Recommendation]:
        """Return the ``k`` best next items, best first, without those seen; fewer where fewer are left.

        Waits only where no state may answer: after opening without the last one, and after forgetting.

        Args:
            k: how many.
            exclude: more items to leave out; unknown ones do no harm.

        Raises:
            PfsrError: there is no model yet, or ``k`` is not positive.
        """
        with self._engine.guard:
            track = self._engine.track()
            query, seen_rows, newest = track.query, track.seen_rows, track.newest
        runtime, catalog = track.basis.runtime, track.basis.runtime.catalog
        more = [catalog.row(item) for item in exclude if catalog.known(item)]
        excluded = np.append(seen_rows, more) if more else seen_rows
        rows, scores = runtime.best(query, k, excluded, newest)
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
        return self._learner.learn(steps, seconds, should_stop)

    def take_part(self, call: bytes) -> bytes:
        """Take part in a round of federated training; return the message for the server.

        The private offsets follow the person's events (phase 1), and how the shared weights would move is
        what leaves (phase 2): the fields of ``federated.update.wire_fields``, nothing else. They are on the
        list of :meth:`uploads`, durably and together with the new offsets, before they are returned. Neither
        protected nor summed with others', a message tells much about the history: see ``federated.update``.

        Args:
            call: what the server sent, as ``device.messages.write_call`` writes it.

        Raises:
            PfsrError: PyTorch is missing, learning is paused, no model, too few events, a call that is
                damaged or for another model; model or history were changed meanwhile; the disk refused. In
                all of these cases nothing leaves.
        """
        return self._learner.take_part(call)

    def pause_learning(self, paused: bool = True) -> None:
        """Forbid learning and taking part, or allow it again; remembered. A lesson under way is not kept."""
        self._learner.pause(paused)

    def update_model(self, path: str | Path) -> ModelChange:
        """Copy in a device model and use it; until the history is replayed, the old one answers.

        Items are found by id, whatever their place in the new catalogue.

        Raises:
            PfsrError: no whole device model, or it cannot be copied; the old one is still in use.
        """
        with self._engine.guard:
            return self._engine.use(self._engine.models.add(Path(path)))

    def rollback(self) -> ModelChange:
        """Use the model before the current one again; done twice, it changes nothing.

        Raises:
            PfsrError: there is none, or it is damaged; the current one is still in use.
        """
        with self._engine.guard:
            previous = self._engine.models.in_use.previous
            if previous is None:
                raise PfsrError("no model before the current one; name one with update_model")
            return self._engine.use(previous)

    def settle(self) -> None:
        """Return once the newest model and offsets answer.

        Raises:
            PfsrError: the replay failed; the old state goes on answering.
        """
        self._engine.live.settle()

    @property
    def model_version(self) -> str | None:
        """The version of the model that answers now."""
        basis = self._engine.basis
        return basis.runtime.version if basis else None

    @property
    def catalog(self) -> Catalog | None:
        """What the model that answers now knows; None: there is no model yet."""
        basis = self._engine.basis
        return basis.runtime.catalog if basis else None

    def status(self) -> Status:
        """Tell which model and offsets answer, and what there is."""
        with self._engine.guard:
            basis, events = self._engine.basis, self._store.count
            learned = basis.offsets_version if basis else 0
            waiting = self._engine.moment(basis).waiting if basis else events
            previous = self._engine.models.in_use.previous
            return Status(self.model_version, previous, learned, events, waiting, self.learning_paused)

    def snapshot(self) -> Snapshot:
        """Return the model, the offsets and the history that answer now, of one and the same moment.

        Raises:
            PfsrError: there is no model yet.
        """
        moment = self._engine.answering()
        return Snapshot(moment.basis.runtime, moment.basis.offsets_S, moment.rows)

    def events(self) -> list[Event]:
        """Return all that was recorded, in order of arrival."""
        return self._store.events()

    def uploads(self) -> list[Upload]:
        """Return what has ever left this device, oldest first."""
        return self._store.uploads()

    @property
    def learning_paused(self) -> bool:
        """Whether learning is forbidden."""
        return self._learner.paused

    def export(self) -> dict[str, Any]:
        """Return everything there is about the person, as JSON can hold it."""
        return self._store.export()

    def forget(
        self, *, item: ItemId | None = None, before: int | None = None, everything: bool = False
    ) -> int:
        """Erase events and what was learned from them, from every file; return how many events went.

        If any went, the private offsets go too: the global model answers until :meth:`learn` is asked to
        learn from what is left. What has left the device before cannot be called back.

        Args:
            item: all events of this item.
            before: all events before this time, milliseconds since 1970.
            everything: all events, the private offsets in any case, and the list of uploads.

        Raises:
            PfsrError: not one of the three; or the disk refused.
        """
        return self._engine.forget(item, before, everything)

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
        self._engine.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
