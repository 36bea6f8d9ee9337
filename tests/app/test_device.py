"""``pfsr device``, from the command line."""

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
