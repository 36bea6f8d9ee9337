import json
import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pfsr.device import writer
from pfsr.device.records import Event, Offsets, Stamp, Upload
from pfsr.device.store import Store
from pfsr.errors import PfsrError

IDS = st.one_of(
    st.integers(-(2**63), 2**63 - 1), st.text(st.characters(codec="utf-8"), min_size=1, max_size=30)
)
STATE = bytes(range(256)) * 156  # 40 kB, as large as a live state gets


def plain(events):
    return [(event.seq, event.item, event.time_ms) for event in events]


@pytest.mark.skipif(os.name == "nt", reason="POSIX permissions")
def test_a_new_folder_is_the_persons_alone(folder):
    with Store.open(folder):
        assert folder.stat().st_mode & 0o777 == 0o700


def test_events_come_back_in_order_and_survive_a_close(folder):
    with Store.open(folder) as store:
        told = [store.append(item, time) for item, time in [("b", 5), ("a", 9), (7, 2), ("7", 2), ("b", 6)]]
        assert store.events() == told
    with Store.open(folder) as store:
        assert store.events() == told
        assert plain(told) == [(1, "b", 5), (2, "a", 9), (3, 7, 2), (4, "7", 2), (5, "b", 6)]
        assert store.durable == store.count == 5
        assert store.append("c").seq == 6


def test_last_and_count_join_what_is_on_disk_and_what_waits(store):
    for item in range(4):
        store.append(item)
    store.flush()
    with patch.object(writer, "GATHER_S", 60):
        for item in range(4, 7):
            store.append(item)
        assert store.count == 7
        for n in range(9):
            assert store.last(n) == store.events()[max(7 - n, 0) :]


def test_a_retry_is_the_same_event_and_a_repeat_is_not(store):
    first = store.append("film", 1000)
    assert store.append("film", 1000) == first._replace(duplicate=True)
    store.flush()
    assert store.append("film", 1000) == first._replace(duplicate=True)
    again = [store.append("film", 1001), store.append("film"), store.append("film"), store.append(1, 1000)]
    assert [event.duplicate for event in again] == [False] * 4
    assert [event.seq for event in store.events()] == [1, 2, 3, 4, 5]


def test_a_clock_going_backwards_changes_no_order(folder):
    clock = iter([5_000_000_000, 3_000_000, 4_000_000_000_000_000, 0])
    with Store.open(folder) as store, patch("time.time_ns", lambda: next(clock)):
        for item in "abcd":
            store.append(item)
        store.flush()
    with Store.open(folder) as store:
        assert plain(store.events()) == [(1, "a", 5000), (2, "b", 3), (3, "c", 4_000_000_000), (4, "d", 0)]
        assert not any(event.given for event in store.events())


def test_an_event_becomes_durable_with_nobody_asking(store):
    seq = store.append("a").seq
    deadline = time.monotonic() + 30
    while store.durable < seq and time.monotonic() < deadline:
        time.sleep(0.005)
    assert store.durable == seq


def test_wait_and_flush_do_not_wait_for_the_group_to_fill(store):
    with patch.object(writer, "GATHER_S", 3600):
        store.wait(store.append("a").seq)
        assert store.durable == 1
        store.append("b")
        assert store.flush() == 2
    with pytest.raises(ValueError, match="event 3: the last one is 2"):
        store.wait(3)


def test_every_commit_is_synced_to_disk(store):
    assert store._writer.run(lambda db: db.execute("PRAGMA synchronous").fetchall()) == [(2,)]
    assert store._writer.run(lambda db: db.execute("PRAGMA journal_mode").fetchall()) == [("wal",)]


@pytest.mark.parametrize(
    ("item", "time_ms", "problem"),
    [
        (True, None, "expected text or a whole number, got bool"),
        (1.0, None, "got float"),
        (None, None, "got NoneType"),
        (2**63, None, "-2^63 to 2^63"),
        ("", None, "1 to 65,536 bytes"),
        ("x" * 65_537, None, "1 to 65,536 bytes"),
        ("\ud800", None, "valid Unicode"),
        ("a", 2**63, "milliseconds since 1970"),
        ("a", 1.5, "milliseconds since 1970"),
        ("a", False, "milliseconds since 1970"),
    ],
)
def test_what_cannot_be_kept_exactly_is_refused_at_once(store, item, time_ms, problem):
    with pytest.raises(PfsrError, match=problem.replace("^", r"\^")) as refusal:
        store.append(item, time_ms)
    assert "\n" not in str(refusal.value)
    assert len(str(refusal.value)) < 200
    store.append("next")
    assert store.flush() == 1


@settings(max_examples=10)
@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("append"), st.tuples(IDS, st.none() | st.integers(0, 3))),
            st.tuples(st.sampled_from(["flush", "reopen"]), st.none()),
            st.tuples(st.just("forget"), IDS | st.integers(0, 3)),
        ),
        max_size=25,
    )
)
def test_any_history_equals_a_plain_list(tmp_path_factory, actions):
    folder, expected, seq = tmp_path_factory.mktemp("any"), [], 0
    store = Store.open(folder)
    with patch("time.time_ns", lambda: 7_000_000):
        for action, what in actions:
            if action == "append":
                item, at = what
                twin = [e for e in expected if e.given and e.time_ms == at and _same(e.item, item)]
                if not twin:
                    seq += 1
                    expected.append(Event(seq, item, 7 if at is None else at, given=at is not None))
                assert store.append(item, at) == (twin[0]._replace(duplicate=True) if twin else expected[-1])
            elif action == "forget":
                kept = [e for e in expected if not _same(e.item, what)]
                assert store.forget(item=what) == len(expected) - len(kept)
                expected = kept
            elif action == "flush":
                store.flush()
            else:
                store.close()
                store = Store.open(folder)
            assert store.events() == expected
    store.close()


def _same(a, b):
    return type(a) is type(b) and a == b


def test_eight_threads_record_while_others_read(store):
    each, done, wrong = 300, threading.Event(), []

    def record(thread):
        for n in range(each):
            event = store.append(f"{thread}-{n}", n)
            if n % 50 == 0:
                store.wait(event.seq)
                assert store.durable >= event.seq

    def read():
        before = 0
        while not done.is_set():
            events = store.events()
            seqs = [event.seq for event in events]
            if seqs != [*range(1, len(seqs) + 1)] or len(seqs) < before or store.count < len(seqs):
                wrong.append(seqs)
            before = len(seqs)
            tail = [event.seq for event in store.last(5)]
            if tail and tail != [*range(tail[-1] - len(tail) + 1, tail[-1] + 1)]:
                wrong.append(tail)

    with ThreadPoolExecutor(11) as pool:
        readers = [pool.submit(read) for _ in range(3)]
        for recorder in [pool.submit(record, thread) for thread in range(8)]:
            recorder.result()
        done.set()
        for reader in readers:
            reader.result()
    assert not wrong
    assert store.flush() == 8 * each
    for thread in range(8):
        mine = [event.time_ms for event in store.events() if str(event.item).startswith(f"{thread}-")]
        assert mine == [*range(each)]


def test_eight_threads_with_the_same_retries_keep_each_event_once(store):
    with ThreadPoolExecutor(8) as pool:
        jobs = [pool.submit(store.append, n % 50, n % 50) for n in range(2000)]
    answers = [job.result() for job in jobs]
    assert sorted(event.item for event in store.events()) == [*range(50)]
    assert sum(not event.duplicate for event in answers) == 50
    assert {event.seq for event in answers} == {*range(1, 51)}


def test_the_state_is_kept_in_memory_and_written_now_and_then(folder, monkeypatch):
    written = []
    keep = writer.put_kept
    monkeypatch.setattr(writer, "put_kept", lambda db, *row: (written.append(row[1]), keep(db, *row)))
    with Store.open(folder) as store:
        assert store.load_state() is None
        for seq in range(1, 131):
            store.append("a")
            stamp = Stamp("m1", 0, seq)
            store.save_state(b"%d" % seq, stamp)
            store.flush()
            assert store.load_state() == (b"%d" % seq, stamp)
        store.save_state(b"new", Stamp("m2", 0, 130))
    assert written == [Stamp("m1", 0, seq) for seq in (1, 65, 129)] + [Stamp("m2", 0, 130)]
    with Store.open(folder) as store:
        assert store.load_state() == (b"new", Stamp("m2", 0, 130))


def test_a_stored_state_never_runs_ahead_of_the_stored_events(folder):
    with Store.open(folder) as store, patch.object(writer, "STATE_EVERY", 1):
        for _ in range(60):
            store.save_state(b"", Stamp("m", 0, store.append("a").seq))
            found = store._writer.run(lambda db: (db.execute(LAST).fetchall(), db.execute(STAMP).fetchall()))
            (last,), stamps = found[0][0], found[1]
            assert not stamps or json.loads(stamps[0][0])[2] <= last


LAST = "SELECT max(seq) FROM events"
STAMP = "SELECT about FROM kept WHERE name = 'state'"


def test_offsets_come_back_bit_for_bit_with_a_growing_version(folder):
    rng = np.random.default_rng(0)
    with Store.open(folder) as store:
        assert store.offsets() is None
        for version in (1, 2):
            offsets_S, fisher_S = rng.normal(size=(2, 300)).astype(np.float32)
            assert store.save_offsets(offsets_S, fisher_S, 1.5, "m") == version
    with Store.open(folder) as store:
        found = store.offsets()
        assert found == Offsets(2, found.offsets_S, found.fisher_S, 1.5, "m")
        np.testing.assert_array_equal(found.offsets_S, offsets_S)
        np.testing.assert_array_equal(found.fisher_S, fisher_S)
        assert found.offsets_S.dtype == np.float32
        assert store.save_offsets(offsets_S, fisher_S, 2, "m") == 3


@pytest.mark.parametrize(
    ("offsets", "fisher"), [([1, np.nan], [0, 0]), ([1, 2], [np.inf, 0]), ([[1]], [[2]])]
)
def test_offsets_that_are_no_finite_vectors_leave_the_old_ones(store, offsets, fisher):
    store.save_offsets(np.ones(2), np.ones(2), 1, "m")
    with pytest.raises(ValueError, match="two finite vectors"):
        store.save_offsets(np.array(offsets), np.array(fisher), 1, "m")
    assert store.offsets().version == 1


def test_uploads_settings_and_export(folder):
    with Store.open(folder) as store:
        store.append("film", 12)
        store.append(3)
        store.record_upload(99, 1234, ["update", "count"], "m1")
        store.record_upload(98, 1, [], "m2")
        store.set_setting("paused", True)
        store.set_setting("model", {"current": "m2", "previous": "m1"})
        store.set_setting("paused", False)
        store.save_offsets(np.array([0.5, 0.1]), np.array([1.0, 2.0]), 3, "m1")
        store.save_state(b"\x00\xff", Stamp("m1", 1, 2))
    with Store.open(folder) as store:
        assert store.uploads() == [Upload(99, 1234, ("update", "count"), "m1"), Upload(98, 1, (), "m2")]
        assert store.settings() == {"paused": False, "model": {"current": "m2", "previous": "m1"}}
        form = json.loads(json.dumps(store.export()))
        assert {"seq": 1, "item": "film", "time_ms": 12, "time_given": True} in form["events"]
        assert form["events"][1]["item"] == 3
        assert np.float32(form["offsets"]["offsets_S"]).tolist() == store.offsets().offsets_S.tolist()
        assert form["offsets"]["version"] == 1
        assert form["uploads"][0]["fields"] == ["update", "count"]
        assert form["state"] == {"model_version": "m1", "offsets_version": 1, "seq": 2, "base64": "AP8="}
        assert form["settings"] == store.settings()


def test_a_thousand_events_and_a_state_take_at_most_200_kb(folder):
    def on_disk():
        return sum(file.stat().st_size for file in folder.iterdir())

    sizes = []
    with Store.open(folder) as store:
        store.save_offsets(np.ones(400), np.ones(400), 1, "0123456789abcdef")
        for n in range(1000):
            event = store.append(f"item-{n * 37 % 3700}", 1_700_000_000_000 + 61_000 * n)
            store.save_state(STATE, Stamp("0123456789abcdef", 1, event.seq))
            if n % 5 == 0:
                store.flush()
                sizes.append(on_disk())
    assert max(sizes) <= 200_000
    assert on_disk() <= 150_000


def test_closed_is_closed(folder):
    store = Store.open(folder)
    store.append("a")
    store.close()
    store.close()
    writing = [lambda: store.append("a"), lambda: store.forget(item="a"), lambda: store.set_setting("a", 1)]
    for verb in [*writing, store.events, store.offsets, store.export]:
        with pytest.raises(PfsrError, match="the store is closed"):
            verb()
    assert sorted(file.name for file in folder.iterdir()) == ["device.db", "device.lock"]


def test_the_times_of_arrival_are_the_devices_clock(store):
    before = time.time_ns() // 1_000_000
    times = [store.append("a").time_ms for _ in range(3)]
    assert before <= times[0]
    assert all(a <= b for a, b in pairwise(times))
    assert times[-1] <= time.time_ns() // 1_000_000
