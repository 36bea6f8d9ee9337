"""Broken files, full disks, read-only folders, rivals: a defined answer to each, and nothing lost."""

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
from contextlib import closing, contextmanager
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pfsr.device import repair, schema, writer
from pfsr.device.records import Stamp
from pfsr.device.store import Store
from pfsr.errors import PfsrError


def content(store):
    offsets = store.offsets()
    return store.export() | {"offsets": offsets and [offsets.version, offsets.offsets_S.tolist()]}


@pytest.fixture(scope="module")
def closed(tmp_path_factory):
    """A folder that was closed well, and what is in it."""
    folder = tmp_path_factory.mktemp("closed") / "person"
    with Store.open(folder) as store:
        for n in range(300):
            store.append(f"item-{n * 7 % 90}", n * 1000 if n % 3 else None)
        store.save_offsets(np.arange(50), np.ones(50), 2, "m")
        store.record_upload(5, 10, ["update"], "m")
        store.set_setting("paused", True)
        store.save_state(b"state" * 1000, Stamp("m", 1, 300))
        store.flush()
        whole = content(store)
    return folder, whole


@pytest.fixture(scope="module")
def running(tmp_path_factory):
    """What kill -9 leaves: a database, a log with the last commits, and the events in them."""
    folder, image = tmp_path_factory.mktemp("live") / "person", tmp_path_factory.mktemp("image")
    with Store.open(folder) as store:
        for n in range(300):
            store.append(f"item-{n}", n)
            if n % 150 == 0:
                store.flush()
        store._writer.run(lambda db: db.execute("PRAGMA wal_autocheckpoint = 0").fetchall())
        store._writer.run(schema.write_back)
        for n in range(300, 306):
            store.append(f"item-{n}", n)
            store.flush()
        for end in ("", "-wal"):
            shutil.copy(folder / f"device.db{end}", image)
        return image, store.events()


@pytest.fixture
def copy(tmp_path):
    def fresh(image):
        folder = tmp_path / "copy"
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(image, folder)
        return folder

    return fresh


def drop_table(file):
    with closing(sqlite3.connect(file)) as database:
        database.execute("DROP TABLE uploads")


def refused(folder, words="damaged"):
    """Open, and return the one line that says what is wrong and how to mend it."""
    with pytest.raises(PfsrError, match=words) as refusal:
        Store.open(folder).close()
    line = str(refusal.value)
    assert "\n" not in line
    assert str(folder) in line
    return line


@pytest.mark.parametrize(
    "spoil",
    [
        lambda file: file.write_bytes(b""),
        lambda file: file.write_text("user,item\n1,2\n"),
        lambda file: file.write_bytes(os.urandom(20_000)),
        lambda file: file.write_bytes(file.read_bytes()[:100]),
        lambda file: file.write_bytes(file.read_bytes()[:4096]),
        lambda file: file.write_bytes(file.read_bytes()[: file.stat().st_size // 2]),
        lambda file: file.write_bytes(file.read_bytes()[:-1]),
        lambda file: file.write_bytes(file.read_bytes().replace(b"TABLE kept", b"TA\xabLE kept")),
        drop_table,
    ],
    ids=[
        "empty",
        "text",
        "noise",
        "100 bytes",
        "one page",
        "half",
        "last byte",
        "no Unicode",
        "a table gone",
    ],
)
def test_a_broken_database_is_refused_and_the_repair_opens_it(closed, copy, spoil):
    folder, whole = copy(closed[0]), closed[1]
    spoil(folder / "device.db")
    spoiled = (folder / "device.db").read_bytes()
    assert f"run: pfsr device repair {folder}" in refused(folder)
    assert refused(folder)
    with Store.repair(folder) as store:
        assert all(event in whole["events"] for event in store.export()["events"])
        assert (folder / "device.db.damaged1").read_bytes() == spoiled
        last = store.append("new").seq
    with Store.open(folder) as store:
        assert store.last(1)[0].seq == last


@settings(max_examples=15)
@given(place=st.floats(0, 1, exclude_max=True), flip=st.integers(1, 255))
def test_a_byte_changed_anywhere_is_never_wrong_data(closed, tmp_path_factory, place, flip):
    folder = tmp_path_factory.mktemp("flip") / "person"
    shutil.copytree(closed[0], folder)
    data = bytearray((folder / "device.db").read_bytes())
    data[int(place * len(data))] ^= flip
    (folder / "device.db").write_bytes(data)
    try:
        with Store.open(folder) as store:
            assert content(store) == closed[1]
    except PfsrError:
        with Store.repair(folder) as store:
            assert all(event in closed[1]["events"] for event in store.export()["events"])


def test_a_broken_page_costs_its_own_rows_only(closed, copy):
    folder = copy(closed[0])
    data = bytearray((folder / "device.db").read_bytes())
    place = data.index(b"item-63")
    data[place : place + 4] = b"itum"
    (folder / "device.db").write_bytes(data)
    assert "a row of events does not match its checksum" in refused(folder)
    with Store.repair(folder) as store:
        form = store.export()
    assert len(form["events"]) == 299
    assert form["state"] is None
    assert form["settings"] == {"paused": True}
    assert form["uploads"] == closed[1]["uploads"]
    assert form["offsets"]["offsets_S"] == [*range(50)]


def test_a_repair_of_what_is_whole_loses_only_the_state(closed, copy):
    with Store.repair(copy(closed[0])) as store:
        assert content(store) == closed[1] | {"state": None}


def test_a_repair_killed_before_its_last_step_is_finished_at_the_next_start(closed, copy, monkeypatch):
    folder = copy(closed[0])
    (folder / "device.db").write_bytes((folder / "device.db").read_bytes()[:-1])
    finish, calls = repair.finish_repair, []

    def killed(folder):
        calls.append(folder)
        return finish(folder) if len(calls) == 1 else 1 / 0

    with monkeypatch.context() as patch:
        patch.setattr(repair, "finish_repair", killed)
        with pytest.raises(ZeroDivisionError):
            Store.repair(folder)
    with Store.open(folder) as store:
        assert store.count > 100


@settings(max_examples=12)
@given(data=st.data())
def test_a_log_cut_or_changed_anywhere_leaves_a_prefix(running, tmp_path_factory, data):
    image, events = running
    folder = tmp_path_factory.mktemp("log") / "person"
    shutil.copytree(image, folder)
    log = bytearray((folder / "device.db-wal").read_bytes())
    place = data.draw(st.integers(0, len(log) - 1))
    if data.draw(st.booleans()):
        del log[place:]
    else:
        log[place] ^= data.draw(st.integers(1, 255))
    (folder / "device.db-wal").write_bytes(log)
    with Store.open(folder) as store:
        found = store.events()
    assert found == events[: len(found)]
    assert len(found) >= 300


def test_what_kill_9_leaves_opens_whole(running, copy):
    with Store.open(copy(running[0])) as store:
        assert store.events() == running[1]


def test_a_lost_log_is_noticed(running, copy):
    folder = copy(running[0])
    (folder / "device.db-wal").unlink()
    for _ in range(2):
        assert "its log device.db-wal is gone" in refused(folder)
    with Store.repair(folder) as store:
        assert store.events() == running[1][:300]


def test_a_lost_database_is_noticed(running, copy):
    folder = copy(running[0])
    (folder / "device.db").unlink()
    assert "its log is there" in refused(folder)
    with Store.repair(folder) as store:
        assert store.events() == []
        assert (folder / "device.db.damaged1-wal").exists()


def test_a_newer_store_is_refused_and_left_alone(closed, copy):
    folder = copy(closed[0])
    with closing(sqlite3.connect(folder / "device.db")) as database:
        database.execute("PRAGMA user_version = 2")
    assert "written by a newer PFSR (store version 2); update PFSR" in refused(folder, "newer")
    with closing(sqlite3.connect(folder / "device.db")) as database:
        assert database.execute("PRAGMA user_version").fetchall() == [(2,)]
        assert database.execute("SELECT count(*) FROM events").fetchall() == [(300,)]


OPEN = "import sys; from pfsr.device.store import Store; Store.open(sys.argv[1])"


def child(code, *arguments, **options):
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        **options,
    )


def test_a_second_process_or_store_is_refused_until_the_first_lets_go(folder):
    with child(f"{OPEN}; print(1, flush=True); input()", folder) as first:
        assert first.stdout.readline() == "1\n"
        assert "close that one first" in refused(folder, "in use by another process")
        first.send_signal(signal.SIGKILL)
    with Store.open(folder):
        refused(folder, "in use by another process")
    Store.open(folder).close()
    (folder / "device.lock").write_text("something else")
    assert "device.lock: is no lock of PFSR; delete it" in refused(folder, "lock")


def test_a_script_that_ends_without_closing_loses_nothing(folder):
    with child(f"{OPEN}.append('a')", folder) as script:
        assert script.wait() == 0
    with Store.open(folder) as store:
        assert [event.item for event in store.events()] == ["a"]


@contextmanager
def full_disk(store):
    """Let the database grow no further."""
    store._writer.run(lambda db: db.execute("PRAGMA max_page_count = 1").fetchall())
    yield
    store._writer._database.execute("PRAGMA max_page_count = 1000000").fetchall()


def fill_up(store):
    """Record until a commit fails; return what was accepted."""
    for n in range(2000):
        store.append(f"item-{n}", n)
    with pytest.raises(PfsrError, match=r"free some space.*events wait in memory"):
        store.flush()
    return store.events()


def test_a_full_disk_is_told_and_nothing_is_lost(folder, monkeypatch):
    monkeypatch.setattr(writer, "RETRY_S", 3600)
    with Store.open(folder) as store:
        store.append("first")
        before = store.flush()
        with full_disk(store):
            accepted = fill_up(store)
            assert store.durable == before
            assert (store.count, len(accepted)) == (2001, 2001)
            assert store.last(1) == accepted[-1:]
            for verb in (store.flush, lambda: store.wait(before + 1), store.close):
                with pytest.raises(PfsrError, match="free some space"):
                    verb()
            with pytest.raises(PfsrError, match="free some space"):
                store.save_offsets(np.ones(3), np.ones(3), 1, "m")
            assert store.offsets() is None
            assert "full" in str(store.failure)
            store.wait(before)
            store.append("last")
        assert store.flush() == 2002
        assert store.failure is None
    with Store.open(folder) as store:
        assert store.events()[:-1] == accepted


def test_commits_are_tried_again_with_nobody_asking(store, monkeypatch):
    monkeypatch.setattr(writer, "RETRY_S", 0.01)
    with full_disk(store):
        last = fill_up(store)[-1].seq
    while store.durable < last:
        threading.Event().wait(0.01)
    assert store.failure is None


def test_a_long_backlog_refuses_new_events_and_keeps_the_old(store, monkeypatch):
    monkeypatch.setattr(writer, "BACKLOG", 2000)
    with full_disk(store):
        accepted = fill_up(store)
        with pytest.raises(PfsrError, match="not recorded: 2,000 events wait"):
            store.append("one too many")
        assert store.events() == accepted
    store.flush()
    assert store.append("again").seq == 2001


def test_without_a_failure_a_long_backlog_waits_for_the_disk(store, monkeypatch):
    monkeypatch.setattr(writer, "BACKLOG", 3)
    for n in range(50):
        store.append(n)
        assert len(store._writer.pending) <= 3
    assert store.flush() == 50


LIMITED = """
import resource, sys
from pfsr.device.store import Store
from pfsr.errors import PfsrError
store = Store.open(sys.argv[1])
store.append("first")
store.flush()
limit = lambda size: resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))
limit(40_000)
told = []
while not told:
    for _ in range(200):
        store.append("item")
    try:
        store.flush()
    except PfsrError as error:
        told.append(str(error))
print(told[0])
print(store.durable < store.count == len(store.events()))
if sys.argv[2] == "recovers":
    limit(resource.RLIM_INFINITY)
    print(store.flush() == store.count)
    store.close()
else:
    print(store.durable, flush=True)
    import os; os._exit(0)
"""


@pytest.mark.parametrize("how", ["recovers", "dies"])
def test_files_that_may_not_grow(folder, how):
    pytest.importorskip("resource", reason="needs POSIX limits")
    with child(LIMITED, folder, how) as process:
        told, reads, last = process.stdout.read().splitlines()
    assert str(folder) in told
    assert "free some space" in told
    assert (reads, process.returncode) == ("True", 0)
    with Store.open(folder) as store:
        seqs = [event.seq for event in store.events()]
    assert seqs == [*range(1, len(seqs) + 1)]
    assert len(seqs) >= (200 if how == "recovers" else int(last))
    assert how == "dies" or last == "True"


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 2 MB."""
    place = tmp_path / "small"
    place.mkdir()
    mount = shutil.which("mount")
    options = ["-t", "tmpfs", "-o", "size=2m", "none", str(place)]
    if not mount or subprocess.run([mount, *options], capture_output=True, check=False).returncode:
        pytest.skip("mounting a small file system is not allowed here")
    yield place
    subprocess.run(["umount", "--lazy", str(place)], check=True)


def test_a_disk_that_really_is_full(small_disk, monkeypatch):
    monkeypatch.setattr(writer, "RETRY_S", 3600)
    ballast = small_disk / "ballast"
    with Store.open(small_disk / "person") as store:
        store.append("first")
        store.flush()
        ballast.write_bytes(bytes(2**21 - 300_000))
        for n in range(6000):
            store.append(f"item-{n}", n)
        with pytest.raises(PfsrError, match="free some space"):
            store.flush()
        accepted = store.events()
        with pytest.raises(PfsrError, match="free some space"):
            Store.open(small_disk / "another")
        ballast.unlink()
    with Store.open(small_disk / "person") as store:
        assert store.events() == accepted


READ_ONLY = """
import os, sys
from pfsr.device.store import Store
from pfsr.errors import PfsrError
if os.geteuid() == 0:
    os.setuid(65534)
try:
    Store.open(sys.argv[1])
except PfsrError as error:
    print(error)
"""


@pytest.mark.skipif(not hasattr(os, "setuid"), reason="needs POSIX users")
@pytest.mark.parametrize("made", [True, False], ids=["a person's folder", "an empty folder"])
def test_a_read_only_folder_is_told(made):
    """Root may write anywhere, so the child becomes nobody after its imports."""
    with tempfile.TemporaryDirectory() as top:
        folder = Path(top) / "person"
        folder.mkdir()
        if made:
            with Store.open(folder) as store:
                store.append("a")
        Path(top).chmod(0o755)
        for file in folder.iterdir():
            file.chmod(0o444)
        folder.chmod(0o555)
        with child(READ_ONLY, folder) as process:
            line = process.stdout.read()
        folder.chmod(0o755)
        for file in folder.iterdir():
            file.chmod(0o644)
        with Store.open(folder) as store:
            assert store.count == made
    assert str(folder) in line
    assert "allow writing" in line


def test_another_program_holding_the_database_is_named_as_the_cause(store, monkeypatch):
    monkeypatch.setattr(writer, "RETRY_S", 3600)
    store._writer.run(lambda db: db.execute("PRAGMA busy_timeout = 1").fetchall())
    with closing(sqlite3.connect(store.folder / "device.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        store.append("a")
        with pytest.raises(PfsrError, match="close the other program that has it open"):
            store.flush()
    assert store.flush() == 1
