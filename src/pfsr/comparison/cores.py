"""How the machine's cores are shared among worker processes."""

import os
from collections.abc import Set as AbstractSet


def shares(processes: int) -> list[set[int]]:
    """Return the cores of each of ``processes`` workers: as even as can be, none empty.

    Empty sets where the system does not let a process choose its cores.
    """
    if not hasattr(os, "sched_getaffinity"):
        return [set() for _ in range(processes)]
    cores = sorted(os.sched_getaffinity(0))
    return [set(cores[index::processes]) or {cores[index % len(cores)]} for index in range(processes)]


def keep_to(process: int, cores: AbstractSet[int]) -> None:
    """Let the process with this id run on ``cores`` only; it then starts no more threads than those."""
    if cores and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(process, cores)


def quiet_libraries() -> dict[str, str]:
    """Return the environment of a process whose libraries start no threads of their own."""
    return os.environ | dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
