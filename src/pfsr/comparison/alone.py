"""One process at a time in a folder."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

POLL_SECONDS = 0.1


@contextmanager
def alone_in(folder: Path, busy: Callable[[], object]) -> Iterator[None]:
    """Keep others out of ``folder``, where the system has file locks; they end with the process.

    Args:
        folder: exists.
        busy: is called again and again while another process is there; it ends the wait by raising.
    """
    try:
        import fcntl
    except ImportError:
        yield
        return
    with (folder / ".lock").open("w") as file:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                busy()
                time.sleep(POLL_SECONDS)
        yield
