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

from pfsr.device.device import Device  # noqa: E402
from pfsr.device.runtime import Runtime  # noqa: E402

STORED = 1000
"""Events that lie on the device when it starts."""
K = 10


def main(folder: Path, lengths: list[int], steps: int) -> None:
    """Measure the device model in ``folder``; ``histories.npy`` beside it holds rows [B, L]."""
    told: dict[str, object] = {"imports": _since(BEGAN, BEGAN_CPU)}
    histories, person = np.load(folder.with_name("histories.npy")), folder.with_name("person")
    stream = np.resize(histories, max(*lengths, STORED) + steps)
    with Device.open(person, model=folder) as device:
        for row in stream[:STORED].tolist():
            device.record(row)
    told["disk"] = sum(path.stat().st_size for path in person.glob("device.*"))
    wall, cpu = time.perf_counter(), time.process_time()
    with Device.open(person) as device:
        device.recommend(K)
        told["start"] = _since(wall, cpu)
        told["event"] = _event(device, stream[STORED : STORED + steps].tolist())
        told["resident"] = resident_mib()
    runtime = Runtime.open(folder)
    offsets = np.zeros(runtime.sites.total, np.float32)
    told["lengths"] = {n: _after(runtime, stream, offsets, n) for n in lengths}
    told["recall"] = _recall(runtime, histories, offsets)
    print(json.dumps(told))


def resident_mib() -> float:
    """Return the memory of this process that is not a mapped file, and the mapped files it has touched."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmRSS"))


def _event(device: Device, items: list[int]) -> dict[str, float]:
    """Time one event and what is recommended after it, while the store commits in its own thread."""

    def event(item: int) -> None:
        device.record(item)
        device.recommend(K)

    return _times(event, items)


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
