"""kill -9 under load: what was acknowledged as durable is there afterwards, in order, and nothing is torn.

Run as a script, this file is the nursery: it forks a child that loads a store, kills it at a random instant,
and says so. What the child was told is durable goes to a file of its own, which outlives it.
Environment: ``PFSR_KILLS``, how often (40).
"""

import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from pfsr.device import writer
from pfsr.device.records import Stamp
from pfsr.device.store import Store
from pfsr.errors import PfsrError

KILLS = int(os.environ.get("PFSR_KILLS", "40"))
LONGEST_LIFE_S = 0.4


def live(folder: Path, witness: Path, seed: int) -> None:
    """Record from three threads, learn, save states, forget: until killed."""
    log = os.open(witness, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    store = Store.open(folder)
    writer.STATE_EVERY = 1

    def say(*words: object) -> None:
        os.write(log, (" ".join(map(str, words)) + "\n").encode())

    def record(thread: int) -> None:
        rng, untold = random.Random(f"{seed} {thread}"), []
        for n in range(10**9):
            item = f"secret-{seed}-{thread}-{n}." if n % 60 == 7 else f"item-{rng.randrange(50)}"
            untold.append(store.append(item, rng.choice([None, rng.randrange(10**12)])))
            if rng.random() < 0.1:
                store.wait(untold[-1].seq)
                say(*(f"durable {e.seq} {e.item} {e.time_ms}\n" for e in untold))
                untold.clear()
            if n % 60 == 57:
                forget(f"secret-{seed}-{thread}-{n - 50}.")

    def forget(item: str) -> None:
        say("forgetting", item)
        store.forget(item=item)
        say("forgot", item)

    for thread in range(3):
        threading.Thread(target=record, args=(thread,), daemon=True).start()
    while True:
        seq = max(store.durable, 0)
        store.save_state(seq.to_bytes(8, "big") * 5000, Stamp("m", 0, seq))
        version = store.save_offsets(np.full(300, seq), np.full(300, seq), seq, "m")
        say("offsets", version)
        time.sleep(0.02)


def nursery() -> None:
    for line in sys.stdin:
        folder, witness, seed, life = line.split()
        child = os.fork()
        if child == 0:
            try:
                live(Path(folder), Path(witness), int(seed))
            finally:
                os._exit(1)
        time.sleep(float(life))
        os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        print(os.WTERMSIG(status), flush=True)


class Witness:
    """What the killed children had been told."""

    def __init__(self, file: Path) -> None:
        words = [line.split() for line in file.read_text().splitlines() if line] if file.exists() else []
        self.durable = {int(w[1]): (w[2], int(w[3])) for w in words if w[0] == "durable"}
        self.forgetting = {w[1] for w in words if w[0] == "forgetting"}
        self.forgot = {w[1] for w in words if w[0] == "forgot"}
        self.offsets = max((int(w[1]) for w in words if w[0] == "offsets"), default=0)

    def check(self, store: Store) -> None:
        """Assert that the store agrees."""
        found = {event.seq: (event.item, event.time_ms) for event in store.events()}
        seqs = list(found)
        assert seqs == sorted(seqs)
        for seq, event in self.durable.items():
            assert found.get(seq) == event or event[0] in self.forgetting, (seq, event)
        assert not self.forgot & {item for item, _ in found.values()}
        holes = max(seqs, default=0) - len(seqs)
        assert holes <= len(self.forgetting), "an event is missing amid others"
        self._check_blobs(store, max(seqs, default=0))

    def _check_blobs(self, store: Store, last: int) -> None:
        offsets, state = store.offsets(), store.load_state()
        if self.offsets and not self.forgetting:
            assert offsets, "offsets are gone, though nothing was to be forgotten"
        if offsets:
            assert offsets.version >= self.offsets
            assert {*offsets.offsets_S, *offsets.fisher_S} == {np.float32(offsets.rounds)}
        if state:
            blob, stamp = state
            assert blob == stamp.seq.to_bytes(8, "big") * 5000
            assert stamp.seq <= last + len(self.forgetting)


@pytest.fixture
def kill() -> Iterator[object]:
    command = [sys.executable, __file__]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def once(*words: object) -> None:
        process.stdin.write(" ".join(map(str, words)) + "\n")
        process.stdin.flush()
        assert process.stdout.readline() == f"{signal.SIGKILL.value}\n", "the child ended by itself"

    with process:
        yield once
        process.stdin.close()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_kill_9_at_random_instants_loses_nothing_that_was_durable(tmp_path, kill):
    rng = random.Random(0)
    people = max(KILLS // 10, 1)
    witnesses = 0
    for number in range(KILLS):
        folder, file = tmp_path / f"person-{number % people}", tmp_path / f"witness-{number % people}"
        kill(folder, file, number, rng.uniform(0, LONGEST_LIFE_S))
        witness = Witness(file)
        witnesses = max(witnesses, len(witness.durable))
        if number % 3 == 0 or number >= KILLS - people:
            with Store.open(folder) as store:
                witness.check(store)
            on_disk = b"".join(f.read_bytes() for f in folder.iterdir())
            assert not [item for item in witness.forgot if item.encode() in on_disk]
    assert witnesses > 100, "the load was too light to prove anything"


def test_the_lock_goes_with_the_process(tmp_path, kill):
    folder = tmp_path / "person"
    kill(folder, tmp_path / "witness", 0, LONGEST_LIFE_S)
    with Store.open(folder), pytest.raises(PfsrError, match="in use by another process"):
        Store.open(folder)
    Store.open(folder).close()


if __name__ == "__main__":
    nursery()
