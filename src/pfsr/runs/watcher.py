"""Who follows a run: a live progress bar, TensorBoard, or nobody."""

import signal
import threading
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import Any, Protocol

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from pfsr.errors import PfsrError
from pfsr.federated.rounds import RoundReport


class Watcher(Protocol):
    """Is told what happens, and may ask the run to stop after a round."""

    def start(self, rounds: int, done: int) -> None:
        """``rounds`` are to be done, ``done`` of them are already."""
        ...

    def round(self, report: RoundReport, seconds: float, look: dict[str, Any]) -> None:
        """A round is done; ``look`` holds validation metrics when they were due."""
        ...

    def wants_to_stop(self) -> bool:
        """Tell whether the run should stop now, resumably."""
        ...


class Quiet:
    """Follows in silence and never stops a run."""

    def start(self, rounds: int, done: int) -> None:
        """Do nothing."""

    def round(self, report: RoundReport, seconds: float, look: dict[str, Any]) -> None:
        """Do nothing."""

    def wants_to_stop(self) -> bool:
        """Never."""
        return False


class Several:
    """Passes everything on to several watchers; stops when any of them wants to."""

    def __init__(self, watchers: Sequence[Watcher]) -> None:
        self.watchers = watchers

    def start(self, rounds: int, done: int) -> None:
        """Pass it on."""
        for watcher in self.watchers:
            watcher.start(rounds, done)

    def round(self, report: RoundReport, seconds: float, look: dict[str, Any]) -> None:
        """Pass it on."""
        for watcher in self.watchers:
            watcher.round(report, seconds, look)

    def wants_to_stop(self) -> bool:
        """Tell whether any of them wants to."""
        return any(watcher.wants_to_stop() for watcher in self.watchers)


class LiveBar:
    """A progress bar with loss, rounds a second and time left, and a line for every look.

    As a context it also turns the first Ctrl-C (or SIGTERM) into a request to stop after the round.
    """

    def __init__(self, console: Console) -> None:
        self.console = console
        self._stop = threading.Event()
        self._before: dict[int, Any] = {}
        columns = (
            TextColumn("[bold]round"),
            MofNCompleteColumn(),
            BarColumn(),
            TextColumn("loss {task.fields[loss]}"),
            TextColumn("{task.fields[pace]}"),
            TextColumn("left"),
            TimeRemainingColumn(),
        )
        self.bar = Progress(*columns, console=console, transient=True)
        self._task = self.bar.add_task("rounds", total=None, loss="-", pace="-")

    def __enter__(self) -> "LiveBar":
        with suppress(ValueError):  # not in the main thread: signals stay as they are
            for number in (signal.SIGINT, signal.SIGTERM):
                self._before[number] = signal.signal(number, self._asked_to_stop)
        self.bar.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self.bar.stop()
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def start(self, rounds: int, done: int) -> None:
        """Show how much there is to do."""
        self.bar.update(self._task, total=rounds, completed=done)

    def round(self, report: RoundReport, seconds: float, look: dict[str, Any]) -> None:
        """Move on; print the look, if there is one."""
        self.bar.update(
            self._task, completed=report.round, loss=_loss(report, 3), pace=f"{1 / seconds:.1f}/s"
        )
        if look:
            say(self.console, f"round {report.round:>5}  loss {_loss(report, 4)}  {_told(look)}")

    def wants_to_stop(self) -> bool:
        """Tell whether Ctrl-C was pressed."""
        return self._stop.is_set()

    def _asked_to_stop(self, number: int, frame: FrameType | None) -> None:
        if self._stop.is_set():
            raise KeyboardInterrupt
        self._stop.set()
        with suppress(RuntimeError):  # the signal came in the middle of a print
            say(self.console, "stopping after this round (again to stop at once)")


class TensorBoard:
    """Writes curves for TensorBoard into ``folder``.

    Raises:
        PfsrError: TensorBoard is not installed.
    """

    def __init__(self, folder: Path) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            raise PfsrError(
                "track = 'tensorboard' needs TensorBoard; run: pip install 'pfsr[track]'"
            ) from None
        self._writer = SummaryWriter(str(folder))

    def start(self, rounds: int, done: int) -> None:
        """Do nothing; curves go on where they stopped."""

    def round(self, report: RoundReport, seconds: float, look: dict[str, Any]) -> None:
        """Add one point to every curve."""
        if report.loss is not None:
            self._writer.add_scalar("train/loss", report.loss, report.round)
        self._writer.add_scalar("train/seconds", seconds, report.round)
        for part, metrics in look.items():
            for name, value in metrics.items():
                self._writer.add_scalar(f"{part}/{name}", value, report.round)
        self._writer.flush()

    def wants_to_stop(self) -> bool:
        """Never."""
        return False


def tracked(watcher: Watcher, track: str, folder: Path) -> Watcher:
    """Return ``watcher``, joined by TensorBoard when the run's ``track`` asks for it."""
    return Several([watcher, TensorBoard(folder)]) if track == "tensorboard" else watcher


def say(console: Console, text: str) -> None:
    """Print a line as it is: data in it is never taken for markup, and it is not broken."""
    console.print(text, markup=False, highlight=False, soft_wrap=True)


def _loss(report: RoundReport, digits: int) -> str:
    return "-" if report.loss is None else f"{report.loss:.{digits}f}"


def _told(look: dict[str, Any]) -> str:
    parts = []
    for key, name in (("validation", "global"), ("validation_personal", "personal")):
        if key in look:
            parts.append(f"{name} NDCG@10 {look[key]['NDCG@10']:.4f} HR@10 {look[key]['HR@10']:.4f}")
    return "validation: " + ", ".join(parts)
