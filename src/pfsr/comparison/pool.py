"""Make cells in worker processes, a few at a time, each on cores of its own."""

import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import NamedTuple

from pfsr.comparison.cell import Cell
from pfsr.comparison.cores import keep_to, quiet_libraries, shares
from pfsr.comparison.worker import STOPPED
from pfsr.runs.folder import write_json

POLL_SECONDS = 0.1


class Running(NamedTuple):
    """A worker at work."""

    cell: Cell
    process: "subprocess.Popen[bytes]"
    slot: int


class Pool:
    """Makes cells, in order, as soon as what they need is there.

    Args:
        cells: those that are not done, what another needs before it.
        processes: workers at a time.
        ended: is told of each cell that is done (None) or why it failed.
    """

    def __init__(self, cells: list[Cell], processes: int, ended: Callable[[Cell, str | None], None]) -> None:
        self.waiting = list(cells)
        self.running: list[Running] = []
        self.failed: dict[str, str] = {}
        self._ended = ended
        self._shares = shares(max(1, min(processes, len(cells))))
        self._stopping = False

    def run(self, follow: Callable[[list[Running]], None]) -> bool:
        """Work until nothing is left; return False when it was stopped by Ctrl-C or SIGTERM before.

        Args:
            follow: is called now and then with the workers at work.
        """
        with self._stoppable():
            while self.running or (self.waiting and not self._stopping):
                self._fill()
                if self._stopping:
                    self._ask_to_stop()
                follow(self.running)
                time.sleep(POLL_SECONDS)
                self._reap()
        return not self._stopping

    def _fill(self) -> None:
        free = set(range(len(self._shares))) - {one.slot for one in self.running}
        while free and not self._stopping:
            cell = next((cell for cell in self.waiting if self._ready(cell)), None)
            if cell is None:
                return
            self.waiting.remove(cell)
            self.running.append(self._start(cell, free.pop()))

    def _ask_to_stop(self) -> None:
        for one in self.running:
            one.process.terminate()

    def _ready(self, cell: Cell) -> bool:
        """Tell whether ``cell`` may start; where what it needs has failed, it starts and says so itself."""
        busy = [one.cell for one in self.running]
        return cell.base is None or all(cell.base.label != other.label for other in (*self.waiting, *busy))

    def _start(self, cell: Cell, slot: int) -> Running:
        write_json(cell.folder.root / "wanted.json", cell.wanted.model_dump())
        command = [sys.executable, "-m", "pfsr.comparison.worker", str(cell.folder.root)]
        with log_file(cell).open("wb") as log:
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=quiet_libraries()
            )
        keep_to(process.pid, self._shares[slot])
        return Running(cell, process, slot)

    def _reap(self) -> None:
        for one in [one for one in self.running if one.process.poll() is not None]:
            self.running.remove(one)
            status = one.process.returncode
            if status == 0 and one.cell.result():
                log_file(one.cell).unlink(missing_ok=True)
                self._ended(one.cell, None)
            elif not self._stopping:
                self.failed[one.cell.label] = why(one.cell, status)
                self._ended(one.cell, self.failed[one.cell.label])

    @contextmanager
    def _stoppable(self) -> Iterator[None]:
        """Turn the first signal into a request to the workers, the second into their end."""
        before = {}
        with suppress(ValueError):  # not in the main thread: signals stay as they are
            for number in (signal.SIGINT, signal.SIGTERM):
                before[number] = signal.signal(number, self._asked_to_stop)
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
            for one in self.running:
                one.process.kill()
                one.process.wait()

    def _asked_to_stop(self, number: int, frame: FrameType | None) -> None:
        if self._stopping:
            raise KeyboardInterrupt
        self._stopping = True


def share_done(cell: Cell) -> float:
    """Return how much of a cell at work is done, by its rounds."""
    return min(cell.rounds_done() / cell.wanted.made_of.config.federated.rounds, 1.0)


def log_file(cell: Cell) -> Path:
    """Return where what a worker says lies while it works, and after it failed."""
    return cell.folder.root / "worker.log"


def why(cell: Cell, status: int) -> str:
    """Return on one line why a worker ended with ``status``."""
    if status < 0:
        name = signal.Signals(-status).name
        return f"ended by {name}{' (out of memory?)' if name == 'SIGKILL' else ''}"
    if status == STOPPED:
        return "stopped by a signal from elsewhere; the same command goes on"
    lines = log_file(cell).read_text(encoding="utf-8", errors="replace").strip().splitlines()
    reason = lines[-1].strip() if lines else f"ended with status {status}"
    return reason if len(lines) < 2 else f"{reason} (more in {log_file(cell)})"
