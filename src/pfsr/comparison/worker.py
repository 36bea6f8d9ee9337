"""The process that makes one cell: ``python -m pfsr.comparison.worker FOLDER``.

A process of its own, so that its memory is returned and its death harms no other cell. SIGTERM asks it to
stop resumably after the round; it does the same when the program that started it is gone. Ends with 0 (done),
1 (failed; the last line of its log says why) or 130 (stopped).
"""

import os
import signal
import sys
from pathlib import Path
from types import FrameType

from pfsr.comparison.alone import alone_in
from pfsr.comparison.work import make_cell, read_wanted
from pfsr.errors import PfsrError
from pfsr.runs.folder import RunFolder
from pfsr.runs.train import Interrupted
from pfsr.runs.watcher import Quiet
from pfsr.simulation.allocator import keep_freed_memory

STOPPED = 130


class StopsWhenAsked(Quiet):
    """Follows in silence; stops the run after SIGTERM, or when the parent process is gone.

    Ctrl-C reaches every process of a terminal; it is left to the parent, which then asks.
    """

    def __init__(self) -> None:
        self._asked = False
        self._parent = os.getppid()
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, self._ask)

    def wants_to_stop(self) -> bool:
        """Tell whether it was asked, or left alone."""
        return self._asked or os.getppid() != self._parent

    def wait_unless_asked(self) -> None:
        """End the wait for a worker of a comparison that was killed, and that still finishes its round.

        Raises:
            Interrupted: it was asked to stop.
        """
        if self.wants_to_stop():
            raise Interrupted

    def _ask(self, number: int, frame: FrameType | None) -> None:
        self._asked = True


def main(root: Path) -> int:
    """Make the cell in the folder ``root``; return the exit status."""
    watcher = StopsWhenAsked()
    keep_freed_memory()
    try:
        with alone_in(root, watcher.wait_unless_asked):
            make_cell(RunFolder(root), read_wanted(root), watcher)
    except Interrupted:
        return STOPPED
    except PfsrError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
