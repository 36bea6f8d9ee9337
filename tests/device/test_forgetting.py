"""Forgotten means that the bytes are in no file of the folder any more."""

import random
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from pfsr.device import forgetting
from pfsr.device.records import Stamp
from pfsr.device.store import Store
from pfsr.errors import PfsrError

SECRET = "very-private-film"
TIME = 0x0173_8A5C_F1B7
"""A time whose six bytes, as SQLite writes them, are easily told from others."""


LIVE_FILES = ["device.db", "device.db-shm", "device.db-wal"]


def fill(store, secrets=3):
    """Record a life with some secrets in it, in pages that were split and rearranged."""
    rng = random.Random(0)
    for n in range(600):
        store.append(f"item-{rng.randrange(1000)}", rng.randrange(10**9))
        if n % (600 // secrets) == 100:
            store.append(SECRET, TIME)
            store.append(SECRET)
        if n % 60 == 0:
            store.flush()
    store.save_state(b"state with very-private-film inside", Stamp("m", 0, 1))
    store.flush()


def test_an_item_is_gone_from_every_file(store, all_bytes):
    fill(store)
    others = [event for event in store.events() if event.item != SECRET]
    assert SECRET.encode() in all_bytes()
    assert TIME.to_bytes(6, "big") in all_bytes()
    assert store.forget(item=SECRET) == 4
    assert SECRET.encode() not in all_bytes()
    assert TIME.to_bytes(6, "big") not in all_bytes()
    assert store.events() == others
    assert store.load_state() is None


@pytest.mark.parametrize("seed", [62, 74])
def test_pages_rearranged_many_times_keep_no_copy(store, all_bytes, seed):
    """These lives leave a copy in the gap of a page, and more than zeroing deleted rows is needed."""
    rng = random.Random(seed)
    for n in range(700):
        store.append(f"item-{rng.randrange(12)}-{'x' * rng.randrange(60)}", rng.randrange(2 * TIME))
        if n % 100 == 30:
            store.append(SECRET, TIME + n)
    for _ in range(3):
        store.forget(item=store.events()[rng.randrange(300)].item)
        store.forget(before=rng.randrange(TIME // 4))
    times = [event.time_ms.to_bytes(6, "big") for event in store.events() if event.item == SECRET]
    for _ in range(200):
        store.append("y" * rng.randrange(1, 90), rng.randrange(2 * TIME))
    store.forget(before=TIME - 5)
    assert store.forget(item=SECRET) == len(times) == 7
    assert not [trace for trace in [SECRET.encode(), *times] if trace in all_bytes()]


def test_a_log_that_was_not_written_back_keeps_nothing(store, all_bytes):
    store._writer.run(lambda db: db.execute("PRAGMA wal_autocheckpoint = 0").fetchall())
    fill(store)
    store.forget(item=SECRET)
    assert SECRET.encode() not in all_bytes()


def test_what_was_accepted_a_moment_ago_is_forgotten_too(store, all_bytes):
    store.append(SECRET)
    store.save_state(SECRET.encode(), Stamp("m", 0, 1))
    store.append("other")
    store.flush()
    store.save_state(SECRET.encode(), Stamp("m", 0, 2))
    assert store.forget(item=SECRET) == 1
    assert [event.item for event in store.events()] == ["other"]
    assert store.load_state() is None
    assert SECRET.encode() not in all_bytes()


def test_a_forgotten_event_told_again_is_new(store):
    store.append(SECRET, 5)
    store.forget(item=SECRET)
    assert store.append(SECRET, 5).duplicate is False
    assert store.append(SECRET, 5).duplicate is True


def test_before_goes_by_the_time_told_or_of_arrival(store, all_bytes):
    for item, time_ms in [("a", 10), (SECRET, 5), ("b", 11), ("c", None)]:
        store.append(item, time_ms)
    assert store.forget(before=11) == 2
    assert [event.item for event in store.events()] == ["b", "c"]
    assert SECRET.encode() not in all_bytes()
    assert store.forget(before=2**62) == 2


def test_numbers_are_not_given_twice(folder):
    with Store.open(folder) as store:
        for item in "abc":
            store.append(item)
        store.forget(item="c")
        assert store.append("d").seq == 4
        store.forget(item="d")
        assert store.flush() == 4
    with Store.open(folder) as store:
        assert store.durable == 4
        assert store.append("e").seq == 5
        assert [event.seq for event in store.events()] == [1, 2, 5]


def test_everything_leaves_settings_only(folder, all_bytes):
    with Store.open(folder) as store:
        fill(store)
        store.save_offsets(np.full(5, 0.123), np.full(5, 7.7), 3, "model-of-mine")
        store.record_upload(TIME, 20, ["my-field"], "model-of-mine")
        store.set_setting("paused", True)
        assert store.forget(everything=True) == 604
        assert (store.events(), store.uploads(), store.offsets(), store.load_state()) == ([], [], None, None)
        assert store.settings() == {"paused": True}
        traces = [SECRET.encode(), b"item-", b"my-field", b"model-of-mine", np.float32(0.123).tobytes()]
        assert not [trace for trace in [*traces, TIME.to_bytes(6, "big")] if trace in all_bytes()]
    with Store.open(folder) as store:
        assert store.append("a").seq == 1


def test_a_crash_before_the_erasing_is_made_up_for_at_the_next_start(folder, all_bytes, monkeypatch):
    store = Store.open(folder)
    fill(store)
    with monkeypatch.context() as crash:
        crash.setattr(forgetting, "erase", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            store.forget(item=SECRET)
    assert SECRET not in {event.item for event in store.events()}
    assert store.load_state() is None
    assert SECRET.encode() in all_bytes()
    store.close()
    with Store.open(folder):
        assert SECRET.encode() not in all_bytes()


def test_what_a_repair_set_aside_goes_too(folder, all_bytes):
    with Store.open(folder) as store:
        fill(store)
    with Store.repair(folder) as store:
        assert [*folder.glob("*.damaged*")]
        (folder / "device.db.new").write_text("what a repair had written when it was killed")
        store.forget(item="nothing of that name")
        assert sorted(file.name for file in folder.glob("device.db*")) == LIVE_FILES
        assert SECRET.encode() in all_bytes()
        store.forget(item=SECRET)
        assert SECRET.encode() not in all_bytes()


def test_others_record_and_read_meanwhile(store, all_bytes):
    def record(thread):
        for n in range(200):
            store.append(f"{thread}-{n}.")
            assert store.last(1)

    with ThreadPoolExecutor(5) as pool:
        recorders = [pool.submit(record, thread) for thread in range(4)]
        for n in range(0, 200, 40):
            store.forget(item=f"2-{n}.")
        for recorder in recorders:
            recorder.result()
    for n in range(0, 200, 40):
        store.forget(item=f"2-{n}.")
    kept = [event.item for event in store.events()]
    expected = {f"{t}-{n}." for t in range(4) for n in range(200) if t != 2 or n % 40}
    assert len(kept) == len(expected)
    assert {*kept} == expected
    assert b"2-40." not in all_bytes()


def test_only_the_named_type_of_item_goes(store):
    store.append("1")
    store.append(1)
    assert store.forget(item=1) == 1
    assert [event.item for event in store.events()] == ["1"]


@pytest.mark.parametrize("what", [{}, {"item": "a", "before": 1}, {"item": "a", "everything": True}])
def test_what_to_forget_must_be_clear(store, what):
    store.append("a")
    with pytest.raises(PfsrError, match="name one of item, before, everything"):
        store.forget(**what)
    assert store.count == 1


def test_a_version_of_offsets_is_never_given_twice(store):
    store.append("a", 1)
    kept = [store.save_offsets(np.ones(3), np.ones(3), 1, "m") for _ in range(2)]
    store.forget(item="a")
    assert store.offsets() is None
    assert [*kept, store.save_offsets(np.ones(3), np.ones(3), 1, "m")] == [1, 2, 3]
