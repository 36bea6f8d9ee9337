import errno

import pytest

from pfsr.errors import PfsrError
from pfsr.evaluation.files import replace_file


def test_a_file_is_replaced_and_folders_are_made(tmp_path):
    path = tmp_path / "a" / "b.txt"
    replace_file(path, b"one")
    replace_file(path, b"two")
    assert path.read_bytes() == b"two"
    assert list(path.parent.iterdir()) == [path]


def test_a_full_disk_leaves_what_was_there_and_nothing_half_written(tmp_path, monkeypatch):
    path = tmp_path / "page.html"
    replace_file(path, b"whole")

    def full(_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(PfsrError, match=r"page\.html: cannot be written: No space left on device"):
        replace_file(path, b"newer")
    assert path.read_bytes() == b"whole"
    assert list(tmp_path.iterdir()) == [path]
