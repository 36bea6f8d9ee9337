"""Reasons against a brute force through PyTorch's recommender, and against really forgetting an item."""

import numpy as np
import pytest
import torch

import pfsr.device.reasons as module
from pfsr.config import ModelConfig
from pfsr.data.catalog import Catalog
from pfsr.device.device import Device
from pfsr.device.reasons import LEAST, in_words, reasons
from pfsr.device.reports import Snapshot
from pfsr.device.runtime import Runtime
from pfsr.export.folder import export_model
from pfsr.model.encoder import init_weights
from pfsr.model.recommender import Recommender

ITEMS = 30
HISTORY = [4, 18, 5, 22, 10, 1, 29, 7, 13]
SMALL = {"d_model": 16, "heads": 2, "d_state": 4, "d_conv": 3, "horizon": 3, "blocks": 1}


@pytest.fixture(scope="module")
def model():
    config, random = ModelConfig(**SMALL), torch.Generator().manual_seed(5)
    fresh = init_weights(config, ITEMS, seed=0)
    weights = {name: w + 0.3 * torch.randn(w.shape, generator=random) for name, w in fresh.items()}
    weights["items"][0] = 0
    return Recommender(config, Catalog(tuple(f"item-{n}" for n in range(1, ITEMS + 1))), weights)


@pytest.fixture(scope="module")
def exported(model, tmp_path_factory):
    folder = tmp_path_factory.mktemp("reasons") / "model"
    export_model(model, folder)
    return folder


@pytest.fixture(scope="module")
def runtime(exported):
    return Runtime.open(exported)


@pytest.fixture(scope="module")
def offsets(runtime):
    return 0.2 * np.random.default_rng(3).standard_normal(runtime.sites.total).astype(np.float32)


def log_probability(model, history, had, offsets):
    """Return log p of every row among those not had, from PyTorch's recommender over the whole history."""
    scores = model.score([np.array(history)], torch.from_numpy(offsets)[None])[0].double().numpy()
    kept = [row for row in range(1, ITEMS + 1) if row not in had]
    found = np.full(ITEMS + 1, np.nan)
    found[kept] = torch.log_softmax(torch.from_numpy(scores[kept]), 0).numpy()
    return found


def pushes(model, history, offsets):
    """Return past item -> push on every row, by the definition, one history at a time."""
    had, whole = set(history), log_probability(model, history, set(history), offsets)
    without = {past: [row for row in history if row != past] for past in history}
    return {
        past: whole - log_probability(model, rest, had, offsets) for past, rest in without.items() if rest
    }


@pytest.mark.parametrize("history", [HISTORY, [4, 18, 4, 4, 9, 18, 2], [3, 8]])
def test_reasons_are_those_of_the_definition(model, runtime, offsets, history):
    expected = pushes(model, history, offsets)
    items = [row for row in range(1, ITEMS + 1) if row not in history]
    found = reasons(Snapshot(runtime, offsets, history), items, most=ITEMS)
    assert any(found)
    for item, told in zip(items, found, strict=True):
        wanted = {past: push[item] for past, push in expected.items() if push[item] >= LEAST}
        assert {reason.row for reason in told} == set(wanted)
        for reason in told:
            assert reason.push == pytest.approx(wanted[reason.row], rel=1e-3, abs=1e-3)
            assert reason.times == pytest.approx(np.exp(reason.push))
        assert [reason.push for reason in told] == sorted((reason.push for reason in told), reverse=True)


def test_a_reason_may_lie_in_the_memory_of_pairs(models, tmp_path):
    """Item 4 calls item 11 to mind, seven rows on; without item 4 nothing does."""
    model = models["remembering"]
    export_model(model, tmp_path / "model")
    runtime = Runtime.open(tmp_path / "model")
    had, history = np.array([9, 20, 4]), [9, 20, 4]
    memory, none = model.memory, torch.zeros(1, runtime.sites.total)
    alone = Recommender(model.config, model.catalog, model.weights)

    def log_p(rows):
        scores = memory.add_to(alone.score([np.array(rows)], none)[0].numpy(), np.array(rows), had)
        kept = [row for row in range(1, ITEMS + 1) if row not in history]
        return scores[11] - torch.logsumexp(torch.from_numpy(scores[kept]).double(), 0).item()

    zeros = np.zeros(runtime.sites.total, np.float32)
    (told,) = reasons(Snapshot(runtime, zeros, history), [11], most=ITEMS)
    assert told[0].row == 4
    assert told[0].push == pytest.approx(log_p(history) - log_p([9, 20]), abs=1e-3)


def test_forgetting_the_first_reason_lowers_the_item_most(exported, folder):
    with Device.open(folder, model=exported) as device:
        for row in HISTORY:
            device.record(f"item-{row}")
        best = device.snapshot().runtime.catalog.row(device.recommend(1)[0].item_id)
        (told,) = reasons(device.snapshot(), [best])
        fallen = {row: fall_when_forgotten(device, row, best) for row in HISTORY}
    assert told
    assert max(fallen, key=fallen.__getitem__) == told[0].row
    assert fallen[told[0].row] == pytest.approx(told[0].push, abs=1e-3)


def fall_when_forgotten(device, row, item):
    """Return the fall of the item's log-probability when a device really forgets a row; then put all back."""
    before = own_log_probability(device, item)
    device.forget(item=f"item-{row}")
    after = own_log_probability(device, item)
    device.forget(everything=True)
    for past in HISTORY:
        device.record(f"item-{past}")
    return before - after


def own_log_probability(device, item):
    snapshot = device.snapshot()
    scores = snapshot.runtime.scores(snapshot.runtime.replay(snapshot.rows, snapshot.offsets_S)[1])
    kept = [row for row in range(1, ITEMS + 1) if row not in HISTORY]
    return float(scores[item] - torch.logsumexp(torch.from_numpy(scores[kept]).double(), 0))


def test_the_only_event_is_the_reason_or_nothing_is(model, runtime, offsets):
    found = reasons(Snapshot(runtime, offsets, [6]), range(7, ITEMS + 1))
    assert {reason.row for told in found for reason in told} == {6}


def test_without_a_history_there_is_no_reason(runtime, offsets):
    assert reasons(Snapshot(runtime, offsets, []), [3, 4]) == [[], []]


def test_only_recent_events_are_named(runtime, offsets, monkeypatch):
    monkeypatch.setattr(module, "RECENT", 3)
    items = [row for row in range(1, ITEMS + 1) if row not in HISTORY]
    found = reasons(Snapshot(runtime, offsets, HISTORY), items, most=ITEMS)
    assert {reason.row for told in found for reason in told} <= set(HISTORY[-3:])
    assert any(found)


def test_a_large_catalogue_leaves_fewer_events_out(runtime, offsets, monkeypatch):
    monkeypatch.setattr(module, "SCORED", 2 * ITEMS)
    scored = []
    scores = runtime.scores
    monkeypatch.setattr(runtime, "scores", lambda *read: scored.append(1) or scores(*read))
    reasons(Snapshot(runtime, offsets, HISTORY), [2])
    assert len(scored) == 3


def test_words():
    assert in_words(["Alien"]) == "Because of “Alien”."
    assert in_words(["Alien", "Jaws"]) == "Because of “Alien” and “Jaws”."
    assert in_words(["Alien", "Jaws", "Brazil"]) == "Because of “Alien”, “Jaws” and “Brazil”."
    assert "as a whole" in in_words([])
    assert "no history" in in_words([], history=False)
