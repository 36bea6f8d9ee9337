"""The live state against replays, and which of two answers while one is made."""

import threading

import numpy as np
import pytest
import torch

from pfsr.config import ModelConfig
from pfsr.data.catalog import Catalog
from pfsr.device.live import Basis, Live, Track
from pfsr.device.runtime import Runtime
from pfsr.errors import PfsrError
from pfsr.export.folder import export_model
from pfsr.model.encoder import init_weights
from pfsr.model.recommender import Recommender

ITEMS = 30
SMALL = {"d_model": 16, "heads": 2, "d_state": 4, "d_conv": 3, "horizon": 3, "blocks": 1}


@pytest.fixture(scope="module")
def runtimes(tmp_path_factory):
    place = tmp_path_factory.mktemp("models")
    for seed in (1, 2):
        config, random = ModelConfig(**SMALL), torch.Generator().manual_seed(seed)
        fresh = init_weights(config, ITEMS, seed=0)
        weights = {name: w + 0.3 * torch.randn(w.shape, generator=random) for name, w in fresh.items()}
        export_model(Recommender(config, Catalog(tuple(range(ITEMS))), weights), place / str(seed))
    return [Runtime.open(place / "1"), Runtime.open(place / "2")]


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
        live.take(store.append(int(item)))


def items(count, seed=0):
    return np.random.default_rng(seed).integers(0, ITEMS, count)


def assert_replayed(track, store):
    """The state is that of a replay of all stored events under the track's own basis."""
    runtime = track.basis.runtime
    known = [e.item + 1 for e in store.events() if e.item < ITEMS]
    state, query = runtime.replay(known, track.basis.offsets_S)
    np.testing.assert_allclose(track.state, state, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(track.query, query, rtol=1e-5, atol=1e-5)
    assert track.seen == set(known)
    assert track.seq == (store.events()[-1].seq if store.count else 0)


@pytest.mark.parametrize("count", [0, 1, 7, 300])
def test_a_replay_equals_the_live_state(store, live, basis, count):
    live.restart(basis)
    record(store, live, items(count))
    assert_replayed(live.current, store)


def test_unknown_items_move_the_stamp_alone(store, live, basis):
    live.restart(basis)
    record(store, live, [3, 4])
    state = live.current.state
    record(store, live, [ITEMS + 5])
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
        store.append(int(item))
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


def test_a_replay_that_fails_is_told_and_leaves_the_old_state(store, live, basis, monkeypatch):
    live.restart(basis)
    record(store, live, items(10))
    live.rebase(basis._replace(offsets_S=np.zeros(3, np.float32), offsets_version=2))
    with pytest.raises(PfsrError, match="offsets"):
        live.settle()
    assert live.current.basis is basis
    assert_replayed(live.current, store)


def test_a_track_takes_events_in_one_by_one_as_together(store, basis):
    events = [store.append(int(item)) for item in items(12)]
    together, one_by_one = Track(basis), Track(basis)
    together.take(events)
    for event in events:
        one_by_one.take([event])
    np.testing.assert_allclose(one_by_one.state, together.state, rtol=1e-5, atol=1e-5)
    assert one_by_one.stamp == together.stamp
