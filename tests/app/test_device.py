"""``pfsr device``, from the command line."""

import socket
import sys

import pytest

from pfsr.device.schema import FILE
from pfsr.device.store import Store
from pfsr.errors import PfsrError


def test_repair_saves_the_events_that_are_whole(pfsr_command, tmp_path):
    with Store.open(tmp_path / "me") as store:
        for item in range(50):
            store.append(f"film-{item:02}")
    database = tmp_path / "me" / FILE
    database.write_bytes(database.read_bytes().replace(b"film-25", b"film-52"))
    with pytest.raises(PfsrError, match=f"run: pfsr device repair {tmp_path / 'me'}"):
        Store.open(tmp_path / "me")
    told = pfsr_command("device", "repair", tmp_path / "me")
    assert (told.status, told.err) == (0, "")
    with Store.open(tmp_path / "me") as store:
        events = store.events()
        assert f"{len(events)} events" in told.out
        assert [event.item for event in events] == [f"film-{i:02}" for i in range(50) if i != 25]
    assert list((tmp_path / "me").glob(f"{FILE}.damaged*"))


def test_repair_does_not_make_a_folder_where_there_is_none(pfsr_command, tmp_path):
    told = pfsr_command("device", "repair", tmp_path / "nobody")
    assert told.status == 1
    assert told.err.count("\n") == 1
    assert "no device.db here" in told.err
    assert not (tmp_path / "nobody").exists()


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (("nobody",), 1, "nobody's folder yet"),
        (("me", "--model", "missing"), 1, "no device model here"),
        (("me", "--port", "70000"), 2, "--port"),
        (("me", "--host", "0.0.0.0"), 2, "--host"),
    ],
)
def test_serving_refuses_in_one_line(pfsr_command, arguments, status, words):
    told = pfsr_command("device", "serve", *arguments)
    assert (told.status, told.out) == (status, "")
    assert words in told.err
    assert told.err.count("\n") == 1


def test_serving_on_a_port_that_is_taken_or_a_folder_in_use(pfsr_command, tmp_path):
    Store.open(tmp_path / "me").close()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        told = pfsr_command("device", "serve", tmp_path / "me", "--port", taken.getsockname()[1])
        assert (told.status, told.err.count("\n")) == (1, 1)
        assert "choose another with --port" in told.err
    with Store.open(tmp_path / "me"):
        told = pfsr_command("device", "serve", tmp_path / "me", "--port", "0")
        assert (told.status, told.err.count("\n")) == (1, 1)
        assert "in use" in told.err


@pytest.mark.parametrize("missing", ["fastapi", "uvicorn"])
def test_serving_without_its_extra_says_how_to_get_it(pfsr_command, tmp_path, monkeypatch, missing):
    Store.open(tmp_path / "me").close()
    for name in [name for name in sys.modules if name.startswith(("pfsr.serving", missing))]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, missing, None)
    told = pfsr_command("device", "serve", tmp_path / "me")
    assert told.status == 1
    assert "pip install 'pfsr[serve]'" in told.err
    assert told.err.count("\n") == 1
