"""Kills runs and resumes them: one process that forks, so that a hundred deaths cost one start-up.

Usage: python kill_driver.py CONFIG.json FOLDER. Prints one line of JSON per death: its name, whether the run
was killed at all, and whether the resumed run ended well. Run with one OpenMP thread: children are forked.
"""

import json
import os
import random
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch

from pfsr.data.loading import load_config
from pfsr.model import bundle
from pfsr.recipe import resolve
from pfsr.runs import checkpoint, folder
from pfsr.runs import train as training
from pfsr.runs.folder import new_run, open_run, read_json
from pfsr.runs.watcher import Quiet
from pfsr.simulation.private_store import PrivateStore
from pfsr.simulation.simulator import Simulator

Patch = Callable[[], object]


def die(*_: object, **__: object) -> Any:
    os.kill(os.getpid(), signal.SIGKILL)


def on_call(owner: Any, name: str, nth: int, act: Callable[..., Any]) -> Patch:
    """Return a patch after which the ``nth`` call of ``owner.name`` is ``act(original, *arguments)``."""

    def patch() -> None:
        original, calls = getattr(owner, name), iter(range(1, 1000))

        def counted(*arguments: Any, **options: Any) -> Any:
            if next(calls) == nth:
                return act(original, *arguments, **options)
            return original(*arguments, **options)

        setattr(owner, name, counted)

    return patch


def before(original: Callable[..., Any], *_: Any, **__: Any) -> None:
    die()


def after(original: Callable[..., Any], *arguments: Any, **options: Any) -> None:
    original(*arguments, **options)
    die()


def half_file(original: Callable[..., Any], tensors: Any, path: Path, header: Any) -> None:
    original(tensors, path, header)
    os.truncate(path, Path(path).stat().st_size // 2)
    die()


def half_tree(original: Callable[..., Any], path: Path, **_: Any) -> None:
    for part in sorted(Path(path).glob("*"))[:1]:
        part.unlink()
    die()


def half_fold(original: Callable[..., Any], store: PrivateStore, people: Any, rows: Any) -> None:
    original(store, people[: len(people) // 2], rows[: len(people) // 2])
    die()


def half_line(original: Callable[..., Any], run_folder: folder.RunFolder, *_: Any) -> None:
    with run_folder.metrics.open("a") as stream:
        stream.write('{"round": 5, "lo')
    die()


def deaths() -> Iterator[tuple[str, Patch]]:
    for nth in range(1, 9):
        yield f"save_file half {nth}", on_call(bundle, "save_file", nth, half_file)
    for nth in (1, 3):
        for act in (before, after):
            yield f"sync {act.__name__} {nth}", on_call(checkpoint, "_sync", nth, act)
            yield f"rename {act.__name__} {nth}", on_call(Path, "rename", nth, act)
            yield f"fold {act.__name__} {nth}", on_call(PrivateStore, "fold", nth, act)
        yield f"fold half {nth}", on_call(PrivateStore, "fold", nth, half_fold)
        yield f"write_json after {nth}", on_call(checkpoint, "write_json", nth, after)
        yield f"save_bundle after {nth}", on_call(training, "save_bundle", nth, after)
        yield f"log after {nth}", on_call(training, "log_round", nth, after)
        yield f"settle after {nth}", on_call(training, "settle_log", nth, after)
        yield f"log half {nth}", on_call(training, "log_round", nth, half_line)
    for nth in (2, 3, 5):
        yield f"rmtree half {nth}", on_call(shutil, "rmtree", nth, half_tree)
    for act in (before, after):
        yield f"adapt {act.__name__}", on_call(Simulator, "adapt", 1, act)
        yield f"last facts {act.__name__}", on_call(training, "write_json", 1, act)
    for seed in range(6):
        yield (
            f"instant {seed}",
            lambda seed=seed: signal.setitimer(signal.ITIMER_REAL, random.Random(seed).uniform(0.005, 0.4)),
        )


def forked(work: Callable[[], object]) -> int:
    """Return how a forked child ended that did ``work``: minus the signal, or its exit status."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            work()
            status = 0
        except BaseException as error:
            print(f"{type(error).__name__}: {error}", file=sys.stderr, flush=True)
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def main() -> None:
    torch.set_num_threads(1)
    config, root = resolve(read_json(Path(sys.argv[1]))), Path(sys.argv[2])
    dataset = load_config(config.data)

    def start(place: Path, patch: Patch) -> None:
        run = training.start_run(new_run(place, overwrite=False), config, dataset)
        patch()
        training.train(run, Quiet())

    def resume(place: Path) -> None:
        training.train(training.reopen_run(open_run(place), dataset), Quiet())

    for name, patch in deaths():
        place = root / name.replace(" ", "-")
        ended = forked(lambda place=place, patch=patch: start(place, patch))
        resumed = forked(lambda place=place: resume(place))
        print(json.dumps({"death": name, "ended": ended, "resumed": resumed}), flush=True)


if __name__ == "__main__":
    began = time.monotonic()
    main()
    print(f"{time.monotonic() - began:.1f} s", file=sys.stderr)
