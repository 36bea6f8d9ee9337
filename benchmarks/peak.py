"""Peak memory of one run of a job, from the resident set that the operating system counts (Linux).

Tensors live outside Python's allocator, so tracemalloc does not see them. A fresh process hands every block
of more than 64 kB back to the system as soon as it is freed, so what the peak of the resident set rises over
its start is what the job held at once.
"""

import ctypes
import gc
import sys
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from mmap import PAGESIZE
from multiprocessing import get_context
from pathlib import Path

_MMAP_THRESHOLD = -3
"""Parameter number of glibc's mallopt."""


def peak_pool() -> ProcessPoolExecutor | None:
    """Return one fresh process to run :func:`peak_bytes` in; None where peaks cannot be reset (not Linux)."""
    if not sys.platform.startswith("linux"):
        return None
    return ProcessPoolExecutor(1, mp_context=get_context("spawn"), initializer=_hand_memory_back)


def peak_bytes(job: Callable[[], object]) -> int:
    """Run a job twice; return by how many bytes the resident set rose in the second run (a page at least)."""
    job()
    gc.collect()
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    before = _status("VmRSS")
    job()
    return max(_status("VmHWM") - before, PAGESIZE)


def _hand_memory_back() -> None:
    ctypes.CDLL(None).mallopt(_MMAP_THRESHOLD, 64 << 10)


def _status(name: str) -> int:
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith(f"{name}:"):
            return 1024 * int(line.split()[1])
    raise LookupError(name)
