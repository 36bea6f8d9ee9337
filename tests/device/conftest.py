"""A person's folder, and a look at all its bytes."""

from pathlib import Path

import pytest

from pfsr.device.store import Store


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "person"


@pytest.fixture
def store(folder):
    with Store.open(folder) as opened:
        yield opened


@pytest.fixture
def all_bytes(folder):
    def read() -> bytes:
        return b"\0".join(file.read_bytes() for file in sorted(Path(folder).rglob("*")) if file.is_file())

    return read
