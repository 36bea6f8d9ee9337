"""When the device learns, and what becomes of it: asked for, bounded, interruptible, all or nothing.

How is the matter of ``device.learning``, which needs PyTorch and is imported only when something is learned.

Shapes: S private offsets.
"""

import secrets
import threading
import time
from collections.abc import Callable

import numpy as np

from pfsr.device.engine import Engine, Moment
from pfsr.device.lessons import Learned, Lesson
from pfsr.device.records import Upload
from pfsr.device.reports import LearnReport
from pfsr.errors import PfsrError

PAUSED = "learning paused"
"""The setting that forbids learning."""


class Learner:
    """Adapts the offsets of an engine; one lesson at a time."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._one = threading.Lock()

    @property
    def paused(self) -> bool:
        """Whether the person has forbidden learning."""
        return bool(self._engine.store.settings().get(PAUSED))

    def pause(self, paused: bool) -> None:
        """Forbid learning, what is under way included, or allow it again."""
        with self._engine.guard:
            self._engine.store.set_setting(PAUSED, paused)
            self._engine.changes += paused

    def learn(self, steps: int, seconds: float | None, should_stop: Callable[[], bool]) -> LearnReport:
        """See ``Device.learn``."""
        _check_installed()
        from pfsr.device.learning import learn

        ends = None if seconds is None else time.monotonic() + seconds
        with self._one:
            moment, lesson = self._lesson()

            def stop() -> bool:
                late = ends is not None and time.monotonic() >= ends
                return late or self._engine.changes != moment.changes or should_stop()

            learned = learn(lesson, steps, stop)
            kept = self._take_over(moment, lesson, learned)
        return LearnReport(learned.steps, len(moment.rows), learned.loss_before, learned.loss_after, kept)

    def take_part(self, call: bytes) -> bytes:
        """See ``Device.take_part``."""
        _check_installed()
        from pfsr.device.learning import take_part

        with self._one:
            moment, lesson = self._lesson()
            done = take_part(lesson, call, secrets.randbits(63))
            upload = Upload(time.time_ns() // 1_000_000, len(done.upload), done.fields, done.version)
            if not self._keep(moment, lesson, done.offsets_S, done.fisher_S, upload):
                raise PfsrError("model or history changed meanwhile, or learning was paused; nothing left")
            return done.upload

    def _lesson(self) -> tuple[Moment, Lesson]:
        with self._engine.guard:
            moment = self._engine.newest()
            if self.paused:
                raise PfsrError("learning is paused; resume it first (pause_learning(False), or on the page)")
            runtime, known = moment.basis.runtime, self._engine.offsets(moment.basis.runtime)
            nothing_S = np.zeros(runtime.sites.total, np.float32)
            before = (known.offsets_S, known.fisher_S, known.rounds) if known else (nothing_S, nothing_S, 0)
            return moment, Lesson(self._engine.models.path(runtime.version), moment.rows, *before)

    def _take_over(self, moment: Moment, lesson: Lesson, learned: Learned) -> bool:
        return learned.steps > 0 and self._keep(moment, lesson, learned.offsets_S, learned.fisher_S)

    def _keep(
        self,
        moment: Moment,
        lesson: Lesson,
        offsets_S: np.ndarray,
        fisher_S: np.ndarray,
        upload: Upload | None = None,
    ) -> bool:
        """Save and use what was learned, unless what it was learned from has changed."""
        with self._engine.guard:
            if moment.changes != self._engine.changes:
                return False
            model = moment.basis.runtime.version
            version = self._engine.store.save_offsets(offsets_S, fisher_S, lesson.rounds + 1, model, upload)
            self._engine.adopt(offsets_S, version)
            return True


def _check_installed() -> None:
    try:
        import torch  # noqa: F401
    except ImportError:
        raise PfsrError("learning needs PyTorch: pip install torch; recommending goes on without") from None
