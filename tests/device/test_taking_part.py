"""A round on the device: the simulator's numbers, and nothing leaves that is not listed first."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from safetensors.torch import load, save

from pfsr.data.catalog import Catalog
from pfsr.data.sequences import Sequences
from pfsr.device import learner
from pfsr.device.device import Device
from pfsr.device.messages import write_call
from pfsr.device.store import Store
from pfsr.errors import PfsrError
from pfsr.federated.aggregate import partial_sum
from pfsr.federated.batch import client_batch
from pfsr.federated.client import local_update
from pfsr.federated.partition import new_private
from pfsr.federated.rounds import first_state, make_broadcast
from pfsr.federated.update import unwire, wire, wire_fields
from pfsr.recipe import resolve
from pfsr.simulation.private_store import PrivateStore
from pfsr.simulation.simulator import Population, Simulator

SEED = 1234567


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
    return np.random.default_rng(0).integers(1, 21, 90)


@pytest.fixture
def device(folder, exported, rows, model, name):
    with Device.open(folder, model=exported[name]) as opened:
        for row in rows.tolist():
            opened.record(model.catalog.item_id(row))
        yield opened


@pytest.fixture
def seeded(monkeypatch):
    monkeypatch.setattr(learner.secrets, "randbits", lambda bits: SEED)


def round_of(trained, **settings):
    """Return a run's configuration, its state after some rounds, and what it broadcasts."""
    config = resolve({"model": trained.config.model_dump()} | settings)
    random = torch.Generator().manual_seed(9)
    weights = {n: w + 0.01 * torch.randn(w.shape, generator=random) for n, w in trained.weights.items()}
    spread_G = torch.linspace(0.005, 0.3, len(trained.sites.names))
    state = first_state(config, 30)._replace(weights=weights, spread_G=spread_G, round=12)
    return config, state, make_broadcast(state, config)


def header(message):
    return json.loads(message[8 : 8 + int.from_bytes(message[:8], "little")])["__metadata__"]


def changed(call, tensors=None, **told):
    """Return a call with other tensors, or whose header says something else."""
    return save(load(call) | (tensors or {}), header(call) | told)


KINDS = {
    "plain": {},
    "one bit": {"federated": {"upload_bits": 1}},
    "half precision, sampled, short window": {
        "federated": {"download_bits": 16, "window": 30, "local_steps": 2},
        "objective": {"loss": "sampled", "negatives": 12},
    },
    "8 bits down": {"federated": {"download_bits": 8, "upload_bits": 4}},
    "no offsets": {"response": {"mode": "off"}},
}


def by_name(message, fields):
    return dict(zip([field.name for field in fields], message.split([f.bytes for f in fields]), strict=True))


@BOTH_VIEWS
@pytest.mark.parametrize("kind", KINDS)
def test_an_upload_is_the_simulators_for_the_same_person(device, model, rows, seeded, kind):
    config, _, broadcast = round_of(model, **KINDS[kind])
    sent = load(device.take_part(write_call(broadcast, config, model.catalog)))
    batch = client_batch([rows.astype(np.int32)], [SEED], config.federated.window)
    private = new_private(1, model.sites)
    updates, after = local_update(broadcast, private, batch, config, model.sites)
    fields = wire_fields(broadcast.weights, len(model.sites.names), config.federated.upload_bits)
    expected = by_name(wire(updates, 0, broadcast.weights), fields)
    assert sent.keys() == expected.keys()
    for field in fields:
        found = sent[field.name].reshape(-1).view(torch.uint8)
        assert torch.equal(found, expected[field.name]), field.name
        assert field.name == "codes" or tuple(sent[field.name].shape) == field.shape
    kept = device._store.offsets()
    np.testing.assert_array_equal(kept.offsets_S, after.offsets_BS[0].numpy())
    np.testing.assert_array_equal(kept.fisher_S, after.fisher_BS[0].numpy())
    assert kept.rounds == 1


def test_a_round_is_the_one_that_the_simulator_trains(folder, retold, model, rows, tmp_path):
    """Without dropout, and with the whole history in the window, only the look at the Fisher information is
    left to chance, and in the first step what moves does not depend on it.
    """
    sizes = model.config.model_dump(mode="json") | {"dropout": 0.0, "event_dropout": 0.0}
    config, _, broadcast = round_of(model, model=sizes)
    with Device.open(folder, model=retold(model=sizes)) as device:
        for row in rows.tolist():
            device.record(model.catalog.item_id(row))
        sent = load(device.take_part(write_call(broadcast, config, model.catalog)))
    fields = wire_fields(broadcast.weights, len(model.sites.names))
    message = torch.cat([sent[field.name].reshape(-1).view(torch.uint8) for field in fields])
    found = partial_sum(unwire(message, broadcast.weights, len(model.sites.names), 32), broadcast.weights)
    sequences = Sequences(np.array([0, len(rows)]), rows.astype(np.int32), np.arange(float(len(rows))))
    private = PrivateStore(tmp_path / "private", 1, model.sites.total)
    simulator = Simulator(Population(sequences, np.array([len(rows)]), private), config, threads=1)
    expected = simulator(broadcast, np.array([0]))
    for name, delta in expected.deltas.items():
        torch.testing.assert_close(found.deltas[name], delta, rtol=1e-5, atol=1e-7)
    for name in ("weight", "loss", "within_T"):
        torch.testing.assert_close(getattr(found, name), getattr(expected, name), rtol=1e-5, atol=1e-7)


def test_what_leaves_is_listed_first_and_is_what_the_wire_says(device, model):
    config, _, broadcast = round_of(model)
    upload = device.take_part(write_call(broadcast, config, model.catalog))
    (line,) = device.uploads()
    assert line.bytes == len(upload)
    assert line.model_version == "round 12"
    names = {field.name for field in wire_fields(broadcast.weights, len(model.sites.names))}
    assert set(line.fields) == names == set(load(upload))
    assert header(upload) == {"format": "pfsr-upload", "version": "1", "round": "12"}
    device.settle()
    assert device.status().offsets_version == 1


def test_a_disk_that_refuses_keeps_everything_here(device, model, monkeypatch):
    config, _, broadcast = round_of(model)

    def refuse(*_):
        raise PfsrError("the disk is full")

    monkeypatch.setattr("pfsr.device.store.put_upload", refuse)
    with pytest.raises(PfsrError, match="full"):
        device.take_part(write_call(broadcast, config, model.catalog))
    assert device.uploads() == []
    assert device._store.offsets() is None


CRASH = """
import os, sys
from pathlib import Path
from pfsr.device.device import Device

device = Device.open(sys.argv[1])
device._engine.adopt = lambda *_: os._exit(9)
device.take_part(Path(sys.argv[2]).read_bytes())
"""


def test_killed_before_the_bytes_are_out_the_line_is_there(device, model, folder, tmp_path):
    config, _, broadcast = round_of(model)
    (tmp_path / "call").write_bytes(write_call(broadcast, config, model.catalog))
    device.close()
    command = [sys.executable, "-c", CRASH, folder, tmp_path / "call"]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, env=os.environ | {"OMP_NUM_THREADS": "1"}
    )
    assert done.returncode == 9, done.stderr
    with Store.open(folder) as store:
        assert len(store.uploads()) == 1
        assert store.offsets().version == 1


def test_paused_means_nothing_leaves(device, model, monkeypatch):
    config, _, broadcast = round_of(model)
    call = write_call(broadcast, config, model.catalog)
    device.pause_learning()
    with pytest.raises(PfsrError, match="paused"):
        device.take_part(call)
    device.pause_learning(False)
    monkeypatch.setattr(learner.secrets, "randbits", lambda _: device.forget(item="item-3"))
    with pytest.raises(PfsrError, match="changed meanwhile"):
        device.take_part(call)
    assert device.uploads() == []


def test_a_call_is_not_believed(device, model):
    config, _, broadcast = round_of(model, objective={"loss": "sampled", "negatives": 5})
    call = write_call(broadcast, config, model.catalog)
    other = Catalog(model.catalog.ids[::-1])
    scale = broadcast.weights["scale"]
    broken = [
        ("damaged", b"no call"),
        ("damaged", call[:-5]),
        ("does not say", changed(call, format="pfsr-bundle")),
        ("call version '2'", changed(call, version="2")),
        ("damaged", changed(call, round="now")),
        ("damaged", changed(call, config="{}}")),
        ("weights do not fit", changed(call, order='["items"]')),
        ("another model or catalogue", write_call(broadcast, config, other)),
        ("weights do not fit", changed(call, {"weight.scale": scale[1:].clone()})),
        ("numbers that no model has", changed(call, {"weight.scale": scale * torch.nan})),
        ("spread or limits", changed(call, {"spread": torch.ones(2)})),
        ("negatives", changed(call, {"negatives": torch.tensor([1, 31])})),
        ("negatives", changed(call, {"negatives": torch.tensor([1.0, 2.0])})),
    ]
    eight, _, rounded = round_of(model, federated={"download_bits": 8})
    coded = write_call(rounded, eight, model.catalog)
    factor = load(coded)["factor.items"]
    broken += [
        ("do not belong together", changed(call, {"weight.items": load(coded)["weight.items"]})),
        ("do not belong together", changed(call, {"factor.items": factor})),
        ("damaged", changed(coded, {"factor.items": factor[1:].clone()})),
        ("numbers that no model has", changed(coded, {"factor.items": factor * torch.inf})),
    ]
    for problem, message in broken:
        with pytest.raises(PfsrError, match=problem) as refused:
            device.take_part(message)
        assert "\n" not in str(refused.value)
    assert device.uploads() == []
    assert device._store.offsets() is None
    assert device.take_part(call)


def test_too_few_events_take_no_part(folder, exported, model):
    config, _, broadcast = round_of(model, federated={"min_events": 4})
    with Device.open(folder, model=exported["first"]) as device:
        for n in range(3):
            device.record(f"item-{n}")
        with pytest.raises(PfsrError, match="needs 4 events"):
            device.take_part(write_call(broadcast, config, model.catalog))
