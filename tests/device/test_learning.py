"""Learning on the device, against the simulator's for the same person."""

import json
import os
import sqlite3
import subprocess
import sys

import numpy as np
import pytest
import torch

from pfsr.config import Config
from pfsr.data.sequences import Sequences
from pfsr.device.device import Device
from pfsr.device.store import Store
from pfsr.errors import PfsrError
from pfsr.federated.rounds import first_state, make_broadcast
from pfsr.model.adaptation import Adaptation
from pfsr.recipe import resolve
from pfsr.simulation.private_store import PrivateStore
from pfsr.simulation.simulator import Population, Simulator

RUN = {
    "seed": 5,
    "response": {"rate": 0.3, "mode": "hard", "threshold": 0.2, "adapt_steps": 3},
    "objective": {"loss": "sampled", "negatives": 12, "seen": "kept"},
    "federated": {"window": 60, "rounds": 7, "download_bits": 16},
}
"""The configuration of a run, far from the defaults."""


BOTH_VIEWS = pytest.mark.parametrize("name", ["first", "other sites"])
"""The second has the flipped state and its gate."""


@pytest.fixture
def name():
    return "first"


@pytest.fixture
def model(models, name):
    return models[name]


@pytest.fixture
def rows():
    return np.random.default_rng(0).integers(1, 21, 130)


@pytest.fixture
def history(rows, model):
    return [model.catalog.item_id(row) for row in rows.tolist()]


@pytest.fixture
def device(folder, exported, history, name):
    with Device.open(folder, model=exported[name]) as opened:
        for item in history:
            opened.record(item)
        yield opened


def simulated(model, rows, config, state, folder):
    """Return the private parameters that ``federated.client.adapt`` leaves in a simulation of one person."""
    sequences = Sequences(np.array([0, len(rows)]), rows.astype(np.int32), np.arange(float(len(rows))))
    private = PrivateStore(folder / "private", 1, model.sites.total)
    simulator = Simulator(Population(sequences, np.array([len(rows)]), private), config, threads=1)
    simulator.adapt(make_broadcast(state, config), np.array([0]))
    return private.read(np.array([0]))


def assert_learned(device, expected):
    found = device._store.offsets()
    np.testing.assert_allclose(found.offsets_S, expected.offsets_BS[0], rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(found.fisher_S, expected.fisher_BS[0], rtol=1e-5, atol=1e-9)
    assert np.abs(found.offsets_S).max() > 1e-3


@BOTH_VIEWS
def test_learning_is_the_simulators_for_one_person(device, model, rows, tmp_path):
    config = Config(model=model.config)
    state = first_state(config, 30)._replace(weights=model.weights)
    assert device.learn(steps=config.response.adapt_steps).kept
    assert_learned(device, simulated(model, rows, config, state, tmp_path))


def test_learning_follows_the_run_that_trained_the_model(folder, model, rows, history, retold, tmp_path):
    config = resolve(RUN | {"model": model.config.model_dump()})
    spread_G = torch.linspace(0.005, 0.3, len(model.sites.names))
    state = first_state(config, 30)._replace(weights=model.weights, round=7, spread_G=spread_G)
    adaptation = Adaptation.of(config, 7, spread_G.tolist())
    with Device.open(folder, model=retold(adaptation=adaptation.model_dump(mode="json"))) as device:
        for item in history:
            device.record(item)
        assert device.learn(steps=3).kept
        assert_learned(device, simulated(model, rows, config, state, tmp_path))


def test_a_model_that_was_trained_without_offsets_has_nothing_to_learn(folder, retold, history):
    off = {"response": {"mode": "off"}, "objective": {"magnitude": "off"}}
    sites = json.loads((retold("sites") / "manifest.json").read_text())["sites"]
    with Device.open(folder, model=retold(adaptation=off | {"spread": [0.01] * len(sites)})) as device:
        for item in history[:5]:
            device.record(item)
        with pytest.raises(PfsrError, match="trained without private offsets"):
            device.learn()


def test_the_loss_on_the_persons_own_events_falls(device):
    report = device.learn(steps=12)
    assert (report.steps, report.events) == (12, 130)
    assert report.loss_after < report.loss_before - 0.01


@BOTH_VIEWS
def test_what_was_learned_is_used_now_and_after_reopening(device, folder, model, history):
    device.learn(steps=8)
    device.settle()
    offsets_BS = torch.from_numpy(device._store.offsets().offsets_S)[None]
    wanted = model.recommend([history], 5, offsets_BS=offsets_BS, exclude_seen=True)
    before = device.recommend(5)
    assert len(before) == 5
    assert [one.item_id for one in before] == wanted["item_id"].to_list()
    np.testing.assert_allclose([one.score for one in before], wanted["score"], rtol=1e-4, atol=1e-4)
    device.close()
    with Device.open(folder) as again:
        assert again.recommend(5) == before
        again.learn(steps=1)
        assert again._store.offsets().rounds == 2


def test_a_stop_between_steps_keeps_the_steps_taken(device):
    asked = iter([False, False, True])
    report = device.learn(steps=50, should_stop=lambda: next(asked))
    assert (report.steps, report.kept) == (2, True)


def test_no_time_means_no_step(device):
    report = device.learn(seconds=0)
    assert (report.steps, report.kept) == (0, False)
    assert report.loss_after == report.loss_before
    assert device._store.offsets() is None


def test_offsets_learned_from_what_was_forgotten_meanwhile_are_not_kept(device):
    def forget():
        device.forget(everything=True)
        return False

    report = device.learn(steps=3, should_stop=forget)
    assert not report.kept
    assert device._store.offsets() is None


def test_a_model_that_came_meanwhile_is_not_given_the_old_models_offsets(device, exported):
    def update():
        device.update_model(exported["second"])
        return False

    assert not device.learn(steps=3, should_stop=update).kept
    assert device._store.offsets() is None


def test_learning_can_be_paused(device, folder):
    device.pause_learning()
    device.close()
    with Device.open(folder) as again:
        with pytest.raises(PfsrError, match="paused"):
            again.learn()
        again.pause_learning(False)
        assert again.learn(steps=1).kept


def test_pausing_stops_the_lesson_under_way(device):
    def pause():
        device.pause_learning()
        return False

    assert not device.learn(steps=3, should_stop=pause).kept
    assert device._store.offsets() is None


def test_refusals(folder, exported):
    with Device.open(folder) as device, pytest.raises(PfsrError, match="no model yet"):
        device.learn()
    with Device.open(folder, model=exported["first"]) as device:
        device.record("item-3")
        device.record("unknown")
        with pytest.raises(PfsrError, match=r"needs 2 events .*got 1"):
            device.learn()
        device.record("item-4")
        with pytest.raises(PfsrError, match="steps must be at least 1"):
            device.learn(steps=0)
        assert device.learn(steps=1).events == 2


def test_without_torch_the_error_says_so_and_recommending_goes_on(device, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(PfsrError, match="learning needs PyTorch"):
        device.learn()
    assert device.recommend(1)


def test_a_disk_that_refuses_leaves_the_old_offsets(device, monkeypatch):
    device.learn(steps=1)
    device.settle()
    old, before = device._store.offsets(), device.recommend(5)

    def full(*_):
        raise sqlite3.OperationalError("database or disk is full")

    monkeypatch.setattr("pfsr.device.store.put_offsets", full)
    with pytest.raises(PfsrError, match="full"):
        device.learn(steps=1)
    assert device._store.offsets().version == old.version
    assert np.array_equal(device._store.offsets().offsets_S, old.offsets_S)
    assert device.recommend(5) == before


CRASH = """
import os, sys
import pfsr.device.store
from pfsr.device.device import Device

def crash(*arguments):
    os._exit(9)

device = Device.open(sys.argv[1])
if sys.argv[2] == "before":
    pfsr.device.store.put_offsets = crash
else:
    device._engine.live.rebase = crash
device.learn(steps=2)
"""


@pytest.mark.parametrize(("when", "version"), [("before", 1), ("after", 2)])
def test_a_crash_leaves_the_old_offsets_or_the_new(device, folder, when, version):
    device.learn(steps=1)
    old = device._store.offsets()
    device.close()
    command = [sys.executable, "-c", CRASH, folder, when]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, env=os.environ | {"OMP_NUM_THREADS": "1"}
    )
    assert done.returncode == 9, done.stderr
    with Store.open(folder) as store:
        found = store.offsets()
        assert found.version == version
        assert np.array_equal(found.offsets_S, old.offsets_S) == (when == "before")
    with Device.open(folder) as again:
        assert again._engine.live.current.basis.offsets_version == version
        assert again.recommend(3)
