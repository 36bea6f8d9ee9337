"""The half of ``device_runtime.py`` that runs on its own, as on a device: without PyTorch.

Reads a device model and histories, prints what it measured as JSON.
"""

import json
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path

BEGAN, BEGAN_CPU = time.perf_counter(), time.process_time()

import numpy as np  # noqa: E402 (importing is part of what is measured)

from pfsr.device.runtime import Runtime  # noqa: E402

STORED = 1000
"""Events that lie on the device when it starts."""
K = 10


def main(folder: Path, lengths: list[int], steps: int) -> None:
    """Measure the device model in ``folder``; ``histories.npy`` beside it holds rows [B, L]."""
    told: dict[str, object] = {"imports": _since(BEGAN, BEGAN_CPU)}
    histories = np.load(folder.with_name("histories.npy"))
    stream = np.resize(histories, max(*lengths, STORED) + steps)
    wall, cpu = time.perf_counter(), time.process_time()
    runtime = Runtime.open(folder)
    offsets = np.zeros(runtime.sites.total, np.float32)
    _, query = runtime.replay(stream[:STORED], offsets)
    runtime.best(query, K, stream[:STORED])
    told["start"] = _since(wall, cpu)
    told["event"] = _event(runtime, stream, offsets, steps)
    told["resident"] = resident_mib()
    told["lengths"] = {n: _after(runtime, stream, offsets, n) for n in lengths}
    told["recall"] = _recall(runtime, histories, offsets)
    print(json.dumps(told))


def resident_mib() -> float:
    """Return the memory of this process that is not a mapped file, and the mapped files it has touched."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmRSS"))


def _event(runtime: Runtime, stream: np.ndarray, offsets: np.ndarray, steps: int) -> dict[str, float]:
    """Time one event and what is recommended after it, with a hundred items excluded."""
    state, seen = runtime.start(), stream[:100]

    def event(row: int) -> None:
        nonlocal state
        state, query = runtime.step(state, row, offsets)
        runtime.best(query, K, seen)

    return _times(event, (int(row) for row in stream[:steps]))


def _after(runtime: Runtime, stream: np.ndarray, offsets: np.ndarray, length: int) -> dict[str, float]:
    """Time one event after ``length`` others, and encoding all of them again."""
    state, _ = runtime.replay(stream[:length], offsets)
    steps = _times(lambda row: runtime.step(state, row, offsets), [int(stream[length])] * 200)
    again = _times(lambda _: runtime.replay(stream[:length], offsets), range(3))
    return {"step": steps["cpu"], "again": again["cpu"]}


def _recall(runtime: Runtime, histories: np.ndarray, offsets: np.ndarray) -> float:
    """Return the share of the exactly best items that ``best`` finds."""
    found = []
    for rows in histories:
        _, query = runtime.replay(rows, offsets)
        exact = np.argsort(-runtime.scores(query), kind="stable")[:K]
        found.append(np.isin(exact, runtime.best(query, K)[0]).mean())
    return float(np.mean(found))


def _times(job: Callable[[int], object], arguments: Iterable[int]) -> dict[str, float]:
    """Return median and 99th percentile in ms, of what passed and of this thread's processor time."""
    walls, cpus = [], []
    for argument in arguments:
        wall, cpu = time.perf_counter(), time.thread_time()
        job(argument)
        walls.append(time.perf_counter() - wall)
        cpus.append(time.thread_time() - cpu)
    (wall, slow), (cpu, slow_cpu) = (1000 * np.percentile(part, (50, 99)) for part in (walls, cpus))
    return {"wall": wall, "wall p99": slow, "cpu": cpu, "cpu p99": slow_cpu}


def _since(wall: float, cpu: float) -> dict[str, float]:
    return {"wall": time.perf_counter() - wall, "cpu": time.process_time() - cpu}


if __name__ == "__main__":
    main(Path(sys.argv[1]), json.loads(sys.argv[2]), int(sys.argv[3]))
