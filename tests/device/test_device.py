"""A person's device as an app sees it, against PyTorch's recommender over the same history."""

import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

from pfsr.device.device import Device
from pfsr.device.manifest import read_manifest
from pfsr.device.runtime import Runtime
from pfsr.device.store import Store
from pfsr.errors import PfsrError

ITEMS = [f"item-{n}" for n in range(30)]
HISTORY = [f"item-{n}" for n in (3, 17, 4, 4, 21, 9, 0, 28)]


@pytest.fixture
def versions(exported):
    names = ("first", "second", "other sites")
    return {name: read_manifest(exported[name]).model_version for name in names}


@pytest.fixture
def expected(models):
    """Return what PyTorch recommends under a model, by name, after a history."""

    def recommended(name, history, k=10, offsets=None):
        offsets_BS = None if offsets is None else torch.from_numpy(offsets)[None]
        return models[name].recommend([history], k, offsets_BS=offsets_BS)

    return recommended


@pytest.fixture
def assert_recommends(expected):
    def check(device, name, history, offsets=None):
        found, wanted = device.recommend(10), expected(name, history, offsets=offsets)
        assert [one.item_id for one in found] == wanted["item_id"].to_list()
        assert [one.title for one in found] == wanted["title"].to_list()
        np.testing.assert_allclose([one.score for one in found], wanted["score"], rtol=1e-4, atol=1e-4)

    return check


@pytest.mark.parametrize("name", ["first", "other sites", "remembering"])
def test_recommendations_are_those_of_pytorch_after_every_event(folder, exported, assert_recommends, name):
    with Device.open(folder, model=exported[name]) as device:
        assert_recommends(device, name, [])
        for end, item in enumerate(HISTORY, start=1):
            assert device.record(item).seq == end
            assert_recommends(device, name, HISTORY[:end])


def test_what_is_excluded_stays_away_and_unknown_exclusions_do_no_harm(folder, exported):
    with Device.open(folder, model=exported["first"]) as device:
        device.record("item-5")
        best = [one.item_id for one in device.recommend(6)]
        found = device.recommend(4, exclude=[best[0], best[2], "no such item"])
        assert [one.item_id for one in found] == [best[1], *best[3:6]]
        assert len(device.recommend(100)) == len(ITEMS) - 1
        with pytest.raises(PfsrError, match="k must be at least 1"):
            device.recommend(0)


def test_the_same_event_told_twice_counts_once(folder, exported, assert_recommends):
    with Device.open(folder, model=exported["first"]) as device:
        device.record("item-3", 1000)
        device.record("item-9", 2000)
        assert device.record("item-3", 1000).duplicate
        assert_recommends(device, "first", ["item-3", "item-9"])


def test_without_a_model_events_are_kept_for_the_first_one(folder, exported, assert_recommends):
    with Device.open(folder) as device:
        for item in HISTORY:
            device.record(item)
        with pytest.raises(PfsrError, match="no model yet"):
            device.recommend()
        with pytest.raises(PfsrError, match="no model before"):
            device.rollback()
        change = device.update_model(exported["first"])
        assert (change.previous, change.offsets, change.waiting) == (None, "none", 0)
        assert_recommends(device, "first", HISTORY)
    with Device.open(folder) as device:
        assert_recommends(device, "first", HISTORY)


def test_the_folder_needs_no_other(folder, exported, tmp_path, assert_recommends):
    source = shutil.copytree(exported["first"], tmp_path / "source")
    with Device.open(folder, model=source) as device:
        device.record(HISTORY[0])
    shutil.rmtree(source)
    with Device.open(folder) as device:
        assert_recommends(device, "first", HISTORY[:1])


def test_a_memory_of_pairs_reads_the_newest_events_after_reopening_and_forgetting(
    folder, exported, assert_recommends, expected
):
    with Device.open(folder, model=exported["remembering"]) as device:
        for time_ms, item in enumerate(HISTORY):
            device.record(item, time_ms)
    with Device.open(folder) as device:
        assert_recommends(device, "remembering", HISTORY)
        device.record("item-11")
        assert_recommends(device, "remembering", [*HISTORY, "item-11"])
        device.forget(item="item-28")
        assert_recommends(device, "remembering", [*HISTORY[:-1], "item-11"])
    wanted = (expected(name, HISTORY)["item_id"].to_list() for name in ("remembering", "first"))
    assert next(wanted) != next(wanted)


def test_a_reopened_device_takes_its_state_up_without_replay(folder, exported, monkeypatch):
    with Device.open(folder, model=exported["first"]) as device:
        for item in HISTORY:
            device.record(item)
        before = device.recommend(10)

    def refuse(*_):
        raise AssertionError("a replay")

    monkeypatch.setattr(Runtime, "advance", refuse)
    with Device.open(folder) as device:
        assert device.recommend(10) == before


def test_unknown_items_wait_for_a_catalogue_that_knows_them(folder, exported, assert_recommends):
    history = [HISTORY[0], "new", *HISTORY[1:]]
    with Device.open(folder, model=exported["first"]) as device:
        for item in history:
            device.record(item)
        assert_recommends(device, "first", HISTORY)
        assert device.update_model(exported["second"]).waiting == 0
        device.settle()
        assert_recommends(device, "second", history)
        assert device.rollback().waiting == 1
        device.settle()
        assert_recommends(device, "first", HISTORY)


def test_a_model_of_another_catalogue_loses_nothing(folder, exported, retold, assert_recommends):
    foreign = retold(ids=[f"song-{n}" for n in range(30)])
    with Device.open(folder, model=exported["first"]) as device:
        for item in HISTORY:
            device.record(item)
        assert device.update_model(foreign).waiting == len(HISTORY)
        device.settle()
        assert {found.item_id for found in device.recommend(3)} <= {f"song-{n}" for n in range(30)}
        device.record("song-4")
        assert device.rollback().waiting == 1
        device.settle()
        assert_recommends(device, "first", HISTORY)
        assert [event.item for event in device.events()] == [*HISTORY, "song-4"]


def test_a_clock_going_backwards_changes_no_answer(folder, exported, assert_recommends, monkeypatch):
    with Device.open(folder, model=exported["first"]) as device:
        for time_ms, item in zip(range(10**12, 0, -(10**11)), HISTORY, strict=False):
            device.record(item, time_ms)
        assert_recommends(device, "first", HISTORY)
    monkeypatch.setattr(Store, "load_state", lambda _: None)
    with Device.open(folder) as device:
        assert_recommends(device, "first", HISTORY)


def test_a_rollback_returns_to_the_model_before(folder, exported, versions, assert_recommends):
    with Device.open(folder, model=exported["first"]) as device:
        device.record("item-1")
        device.update_model(exported["second"])
        device.update_model(exported["other sites"])
        assert {path.name for path in (folder / "models").iterdir()} == {
            versions["second"],
            versions["other sites"],
        }
        change = device.rollback()
        assert (change.version, change.previous) == (versions["second"], versions["other sites"])
    with Device.open(folder) as device:
        assert_recommends(device, "second", ["item-1"])
        device.rollback()
        device.settle()
        assert_recommends(device, "other sites", ["item-1"])


def test_offsets_stay_where_they_fit_and_come_back_where_they_did_not(
    folder, exported, versions, assert_recommends, models
):
    offsets = 0.2 * np.random.default_rng(0).standard_normal(models["first"].sites.total).astype(np.float32)
    with Device.open(folder, model=exported["first"]) as device:
        for item in HISTORY:
            device.record(item)
        device._store.save_offsets(offsets, np.ones_like(offsets), 1, versions["first"])
    with Device.open(folder) as device:
        assert_recommends(device, "first", HISTORY, offsets)
        assert device.update_model(exported["second"]).offsets == "kept"
        device.settle()
        assert_recommends(device, "second", HISTORY, offsets)
        assert device.update_model(exported["other sites"]).offsets == "reset"
        device.settle()
        assert_recommends(device, "other sites", HISTORY)
    with Device.open(folder) as device:
        assert_recommends(device, "other sites", HISTORY)
        assert device.rollback().offsets == "kept"
        device.settle()
        assert_recommends(device, "second", HISTORY, offsets)


def test_a_damaged_model_is_refused_and_the_old_one_goes_on(
    folder, exported, versions, tmp_path, assert_recommends
):
    damaged = shutil.copytree(exported["second"], tmp_path / "damaged")
    (damaged / "step.onnx").write_bytes(b"no graph")
    with Device.open(folder, model=exported["first"]) as device:
        device.record("item-1")
        with pytest.raises(PfsrError, match=r"step\.onnx"):
            device.update_model(damaged)
        assert device.model_version == versions["first"]
        assert_recommends(device, "first", ["item-1"])
        assert [path.name for path in (folder / "models").iterdir()] == [versions["first"]]


def test_a_damaged_copy_is_told_and_made_good_by_the_model(folder, exported, versions, assert_recommends):
    Device.open(folder, model=exported["first"]).close()
    (folder / "models" / versions["first"] / "catalog.json").write_bytes(b"{}")
    with pytest.raises(PfsrError, match=r"catalog\.json"):
        Device.open(folder)
    with Device.open(folder, model=exported["first"]) as device:
        assert_recommends(device, "first", [])


def test_a_copy_that_fails_leaves_the_old_model(folder, exported, versions, monkeypatch):
    with Device.open(folder, model=exported["first"]) as device:

        def full(*_):
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(shutil, "copyfile", full)
        with pytest.raises(PfsrError, match="No space left"):
            device.update_model(exported["second"])
        assert device.model_version == versions["first"]
        assert [path.name for path in (folder / "models").iterdir()] == [versions["first"]]
    assert Device.open(folder).close() is None


def test_what_is_forgotten_is_gone_from_state_files_and_answers(
    folder, exported, all_bytes, assert_recommends
):
    with Device.open(folder, model=exported["first"]) as device:
        for time_ms, item in enumerate(HISTORY):
            device.record(item, time_ms)
        assert device.forget(item="item-4") == 2
        rest = [item for item in HISTORY if item != "item-4"]
        assert_recommends(device, "first", rest)
        assert device.forget(before=2) == 2
        assert_recommends(device, "first", rest[2:])
        with pytest.raises(PfsrError, match="name one of"):
            device.forget()
        assert_recommends(device, "first", rest[2:])
        device.record("secret-item")
        assert device.forget(everything=True) == len(rest) - 1
        assert_recommends(device, "first", [])
        assert device.export()["events"] == []
    assert b"secret-item" not in all_bytes()


def test_what_was_learned_from_a_forgotten_event_goes_with_it(
    folder, exported, versions, models, all_bytes, assert_recommends
):
    offsets = 0.2 * np.random.default_rng(0).standard_normal(models["first"].sites.total).astype(np.float32)
    with Device.open(folder, model=exported["first"]) as device:
        for time_ms, item in enumerate(HISTORY):
            device.record(item, time_ms)
        for what in ({"item": "item-4"}, {"before": 2}):
            device._store.save_offsets(offsets, np.full_like(offsets, 7.7), 1, versions["first"])
            device.flush()
            assert offsets[:50].tobytes() in all_bytes()
            assert device.forget(item="never recorded") == 0
            assert device._store.offsets() is not None
            assert device.forget(**what) == 2
            assert device._store.offsets() is None
            assert device.status().offsets_version == 0
            assert offsets[:50].tobytes() not in all_bytes()
        assert_recommends(device, "first", HISTORY[4:])


def test_a_device_tells_where_it_stands(folder, exported, versions):
    with Device.open(folder) as device:
        device.record("item-1")
        assert device.status() == (None, None, 0, 1, 1, False)
        with pytest.raises(PfsrError, match="no model yet"):
            device.snapshot()
        device.update_model(exported["first"])
        device.record("new", 5)
        device.pause_learning()
        assert device.learning_paused
        assert device.status() == (versions["first"], None, 0, 2, 1, True)
        assert [(event.seq, event.item) for event in device.events()] == [(1, "item-1"), (2, "new")]
        assert device.uploads() == []
        device.update_model(exported["second"])
        device.settle()
        assert device.status() == (versions["second"], versions["first"], 0, 2, 0, True)


def test_a_snapshot_is_of_one_moment(folder, exported, versions):
    with Device.open(folder, model=exported["first"]) as device:
        device.record("item-1")
        device.record("unknown")
        found = device.snapshot()
        device.record("item-2")
        device.update_model(exported["second"])
        device.settle()
        assert (found.runtime.version, found.rows) == (versions["first"], [2])
        assert not found.offsets_S.any()
        catalog = device.snapshot().runtime.catalog
        assert device.snapshot().rows == [catalog.row("item-1"), catalog.row("item-2")]


def test_an_export_holds_everything(folder, exported, versions):
    with Device.open(folder, model=exported["first"]) as device:
        device.record("item-3", 1000)
        assert device.flush() == 1
        told = device.export()
    assert [event["item"] for event in told["events"]] == ["item-3"]
    assert told["settings"]["models"]["current"] == versions["first"]
    assert told["state"]["model_version"] == versions["first"]


def test_a_closed_device_says_so(folder, exported):
    device = Device.open(folder, model=exported["first"])
    device.close()
    device.close()
    for verb in (device.recommend, lambda: device.record("item-1"), device.learn, device.export):
        with pytest.raises(PfsrError, match="closed"):
            verb()


def test_a_folder_whose_opening_failed_can_be_opened_again(folder, exported, tmp_path):
    with pytest.raises(PfsrError, match="no device model"):
        Device.open(folder, model=tmp_path)
    Device.open(folder, model=exported["first"]).close()


def test_models_change_while_threads_record_and_ask(folder, exported, assert_recommends, expected):
    """Every answer is one model's: scores of either model after some beginning of the history."""
    random = np.random.default_rng(0)
    history = [f"item-{n}" for n in random.integers(0, 8, 40)]
    with Device.open(folder, model=exported["first"]) as device, ThreadPoolExecutor(4) as pool:
        recorded = pool.submit(lambda: [device.record(item) for item in history])
        answers = [pool.submit(lambda: [device.recommend(1)[0] for _ in range(60)]) for _ in range(2)]
        for name in ("second", "first", "second") * 2:
            device.update_model(exported[name])
        recorded.result()
        found = [one for answer in answers for one in answer.result()]
        device.settle()
        assert_recommends(device, "second", history)
    allowed = [
        expected(name, history[:end], 1).row(0)[2:]
        for name in ("first", "second")
        for end in range(len(history) + 1)
    ]
    for one in found:
        assert any(one.item_id == wanted[0] and abs(one.score - wanted[2]) < 1e-3 for wanted in allowed)


ALONE = """
import sys
import pfsr.device.device
heavy = {"torch", "polars", "pandas", "rich", "matplotlib", "onnx"} & set(sys.modules)
assert not heavy, heavy
with pfsr.device.device.Device.open(sys.argv[1], model=sys.argv[2]) as device:
    device.record("item-3")
    print(device.recommend(1)[0].item_id)
heavy = {"torch", "polars", "pandas", "rich", "matplotlib", "onnx"} & set(sys.modules)
assert not heavy, heavy
"""


def test_a_device_imports_nothing_heavy(folder, exported, expected):
    command = [sys.executable, "-c", ALONE, folder, exported["first"]]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == expected("first", ["item-3"], 1)["item_id"][0]


def test_the_example_is_a_whole_device(folder, exported, expected):
    command = [sys.executable, "examples/device.py", folder, exported["first"]]
    told = "item-3\nitem-9\nforget\n\n"
    done = subprocess.run(command, input=told, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "2 events erased" in done.stdout
    assert f"1. {expected('first', ['item-3'], 1)['title'][0]}" in done.stdout


def test_a_person_is_replayed_event_by_event(folder, exported, tmp_path, expected):
    events = [("u2", item, 100 - n) for n, item in enumerate(reversed([*HISTORY[:3], "unknown", HISTORY[5]]))]
    lines = [
        "user_id,item_id,timestamp",
        "u1,item-1,1",
        "u1,item-2,2",
        *(",".join(map(str, event)) for event in events),
    ]
    (tmp_path / "data.csv").write_text("\n".join(lines) + "\n")
    command = [sys.executable, "examples/replay.py", exported["first"], tmp_path / "data.csv", "u2"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    told = [line.split() for line in done.stdout.splitlines()]
    known, hits = [], 0
    for number, (line, item) in enumerate(zip(told, [e[1] for e in events[::-1]], strict=True), start=1):
        ranked = expected("first", known, 30)["item_id"].to_list()
        wanted = f"rank {ranked.index(item) + 1}" if item in ranked else "not ranked"
        hits += item in ranked[:10]
        known += [item] if item != "unknown" else []
        assert " ".join(line) == f"{number} {wanted} HR@10 {hits / number:.3f} {item}"
