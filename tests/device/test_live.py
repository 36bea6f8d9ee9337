"""The live state against replays, and which of two answers while one is made."""

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from pfsr.device import live as live_module
from pfsr.device.live import Basis, Live, Track
from pfsr.device.runtime import Runtime
from pfsr.errors import PfsrError


@pytest.fixture(scope="module")
def runtimes(exported):
    return [Runtime.open(exported[name]) for name in ("first", "second")]


@pytest.fixture
def basis(runtimes):
    random = np.random.default_rng(3)
    return Basis(runtimes[0], (0.2 * random.standard_normal(runtimes[0].sites.total)).astype(np.float32), 1)


@pytest.fixture
def live(store):
    made = Live(store, threading.RLock())
    yield made
    made.close()


def record(store, live, items):
    for item in items:
        live.take(store.append(item))


def items(count, seed=0):
    return [f"item-{n}" for n in np.random.default_rng(seed).integers(0, 30, count)]


def assert_replayed(track, store):
    """The state is that of a replay of all stored events under the track's own basis."""
    runtime = track.basis.runtime
    known = [runtime.catalog.row(e.item) for e in store.events() if runtime.catalog.known(e.item)]
    state, query = runtime.replay(known, track.basis.offsets_S)
    np.testing.assert_allclose(track.state, state, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(track.query, query, rtol=1e-5, atol=1e-5)
    assert track.seen == set(known)
    assert sorted(track.seen_rows.tolist()) == sorted(track.seen)
    assert track.seq == (store.events()[-1].seq if store.count else 0)


@pytest.mark.parametrize("count", [0, 1, 7, 300])
def test_a_replay_equals_the_live_state(store, live, basis, count):
    live.restart(basis)
    record(store, live, items(count))
    assert_replayed(live.current, store)


def test_unknown_items_move_the_stamp_alone(store, live, basis):
    live.restart(basis)
    record(store, live, ["item-3", "item-4"])
    state = live.current.state
    record(store, live, ["unknown"])
    assert live.current.state is state
    assert live.current.stamp == (basis.runtime.version, 1, 3)
    assert_replayed(live.current, store)


def refuse(*_):
    raise AssertionError("a replay")


def test_a_saved_state_is_taken_up_without_replay(store, live, basis, monkeypatch):
    live.restart(basis)
    record(store, live, items(20))
    before = live.current
    monkeypatch.setattr(Runtime, "advance", refuse)
    monkeypatch.setattr(Runtime, "step", refuse)
    live.restart(basis)
    assert live.current is not before
    assert np.array_equal(live.current.state, before.state)
    assert np.array_equal(live.current.query, before.query)
    assert live.current.seen == before.seen


def test_a_saved_state_catches_up_with_newer_events_only(store, live, basis, monkeypatch):
    live.restart(basis)
    record(store, live, items(20))
    for item in items(2, seed=1):
        store.append(item)
    taken, advance = [], Runtime.advance

    def counted(self, state, rows, offsets):
        taken.append(len(rows))
        return advance(self, state, rows, offsets)

    monkeypatch.setattr(Runtime, "advance", counted)
    live.restart(basis)
    assert taken == [2]
    assert_replayed(live.current, store)


@pytest.mark.parametrize("change", ["model", "offsets", "size"])
def test_a_state_of_something_else_is_not_used(store, live, basis, runtimes, change):
    live.restart(basis)
    record(store, live, items(9))
    if change == "model":
        other = basis._replace(runtime=runtimes[1])
    elif change == "offsets":
        other = basis._replace(offsets_S=-basis.offsets_S, offsets_version=2)
    else:
        other = basis
        store.save_state(b"\0" * 40, live.current.stamp)
    live.restart(other)
    assert live.current.basis is other
    assert_replayed(live.current, store)


class Gate:
    """Holds the replays of one runtime until it is opened."""

    def __init__(self, monkeypatch, runtime):
        self.reached, self.open, advance = threading.Event(), threading.Event(), Runtime.advance

        def held(asked, *arguments):
            if asked is runtime:
                self.reached.set()
                assert self.open.wait(20)
            return advance(asked, *arguments)

        monkeypatch.setattr(Runtime, "advance", held)


def test_the_old_state_answers_until_the_new_one_has_caught_up(store, live, basis, runtimes, monkeypatch):
    live.restart(basis)
    record(store, live, items(10))
    gate = Gate(monkeypatch, runtimes[1])
    live.rebase(basis._replace(runtime=runtimes[1]))
    assert gate.reached.wait(20)
    record(store, live, items(5, seed=1))
    assert live.current.basis.runtime is runtimes[0]
    assert_replayed(live.current, store)
    gate.open.set()
    live.settle()
    assert live.current.basis.runtime is runtimes[1]
    assert_replayed(live.current, store)
    assert store.load_state()[1] == live.current.stamp


def test_a_replay_that_was_overtaken_is_dropped(store, live, basis, runtimes, monkeypatch):
    live.restart(basis)
    record(store, live, items(10))
    gate = Gate(monkeypatch, runtimes[1])
    live.rebase(basis._replace(runtime=runtimes[1]))
    assert gate.reached.wait(20)
    newest = basis._replace(offsets_S=-basis.offsets_S, offsets_version=2)
    live.rebase(newest)
    gate.open.set()
    live.settle()
    assert live.current.basis is newest
    assert_replayed(live.current, store)


def test_a_replay_of_forgotten_events_brings_nothing_back(store, live, basis, runtimes, monkeypatch):
    live.restart(basis)
    record(store, live, items(10))
    gate = Gate(monkeypatch, runtimes[1])
    live.rebase(basis._replace(runtime=runtimes[1]))
    assert gate.reached.wait(20)
    live.drop()
    store.forget(everything=True)
    live.restart(basis)
    gate.open.set()
    live.settle()
    assert live.current.basis is basis
    assert not live.current.state.any()
    assert_replayed(live.current, store)


@pytest.fixture
def long_after(monkeypatch):
    """Let any replay of more than three events go to the background."""
    monkeypatch.setattr(live_module, "AT_ONCE", 3)


def test_without_an_old_state_asking_waits_and_recording_does_not(
    store, live, basis, monkeypatch, long_after
):
    for item in items(10):
        store.append(item)
    gate = Gate(monkeypatch, basis.runtime)
    live.restart(basis)
    assert gate.reached.wait(20)
    record(store, live, items(5, seed=1))
    assert live.current is None
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(live.answering)
        assert not asked.done()
        gate.open.set()
        assert asked.result(20) is live.current
    assert_replayed(live.current, store)


def test_a_first_replay_that_fails_is_told_to_whoever_asks(store, live, basis, long_after):
    for item in items(10):
        store.append(item)
    live.restart(basis._replace(offsets_S=np.zeros(3, np.float32)))
    for _ in range(2):
        with pytest.raises(PfsrError, match="offsets"):
            live.answering()
    live.rebase(basis)
    assert_replayed(live.answering(), store)


def test_nobody_waits_for_a_state_that_was_dropped(store, live, basis, monkeypatch, long_after):
    for item in items(10):
        store.append(item)
    gate = Gate(monkeypatch, basis.runtime)
    live.restart(basis)
    assert gate.reached.wait(20)
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(live.answering)
        live.drop()
        assert asked.result(20) is None
        gate.open.set()
        live.settle()
        assert live.current is None


def test_a_replay_that_fails_is_told_and_leaves_the_old_state(store, live, basis, monkeypatch):
    live.restart(basis)
    record(store, live, items(10))
    live.rebase(basis._replace(offsets_S=np.zeros(3, np.float32), offsets_version=2))
    with pytest.raises(PfsrError, match="offsets"):
        live.settle()
    assert live.current.basis is basis
    assert_replayed(live.current, store)


def test_a_track_takes_events_in_one_by_one_as_together(store, basis):
    events = [store.append(item) for item in items(12)]
    together, one_by_one = Track(basis), Track(basis)
    together.take(events)
    for event in events:
        one_by_one.take([event])
    np.testing.assert_allclose(one_by_one.state, together.state, rtol=1e-5, atol=1e-5)
    assert one_by_one.stamp == together.stamp
