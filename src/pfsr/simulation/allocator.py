"""Make the C library keep freed memory instead of handing it back and faulting every page in again."""

import ctypes
import sys

_TRIM_THRESHOLD, _TOP_PAD, _MMAP_MAX, _ARENA_MAX = -1, -2, -4, -8
"""Parameter numbers of glibc's mallopt."""


def keep_freed_memory() -> bool:
    """Ask glibc to reuse large freed blocks; return whether it took effect (Linux with glibc only).

    Elementwise work on fresh tensors becomes several times faster, at the price of memory that the process
    keeps until it ends. All threads share one arena: with one each, what they free piles up (ML-1M: 4.5 GB
    and growing, against 2). It changes the whole process, so the command line calls it, never an import.
    """
    if not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    wanted = ((_MMAP_MAX, 0), (_TRIM_THRESHOLD, 2**31 - 1), (_TOP_PAD, 64 << 20), (_ARENA_MAX, 1))
    return all(mallopt(parameter, value) for parameter, value in wanted)
