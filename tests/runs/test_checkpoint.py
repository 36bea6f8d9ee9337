"""Checkpoints come back bit-exactly; damaged ones are told, never half loaded."""

import numpy as np
import pytest
import torch

from pfsr.errors import PfsrError
from pfsr.federated.partition import Private
from pfsr.federated.rounds import first_state
from pfsr.federated.server import Moments
from pfsr.runs import checkpoint
from pfsr.runs.checkpoint import Progress, load_checkpoint, save_checkpoint
from pfsr.simulation.private_store import PrivateStore

PEOPLE, OFFSETS = 9, 5


@pytest.fixture
def store(tmp_path) -> PrivateStore:
    return PrivateStore(tmp_path / "private.f32", PEOPLE, OFFSETS)


@pytest.fixture
def state(make_config):
    fresh = first_state(make_config(), items=7)
    random = torch.Generator().manual_seed(0)
    moments = ({n: torch.randn(w.shape, generator=random) for n, w in fresh.weights.items()} for _ in "12")
    return fresh._replace(moments=Moments(*moments), round=4)


def learn(store: PrivateStore, people: list[int], value: float) -> None:
    ones = torch.full((len(people), OFFSETS), value)
    store.write(np.array(people), Private(ones, ones + 1, torch.full((len(people),), 2.0)))


def test_everything_comes_back(tmp_path, store, state):
    learn(store, [2, 7], 0.25)
    progress = Progress(4, 2, 0.5, 1, 3.25)
    save_checkpoint(tmp_path / "c", state, store, progress)
    fresh = PrivateStore(tmp_path / "private.f32", PEOPLE, OFFSETS)
    back, told = load_checkpoint(tmp_path / "c", fresh)
    assert told == progress
    assert back.round == 4
    for ours, theirs in zip((state.weights, *state.moments), (back.weights, *back.moments), strict=True):
        assert list(ours) == list(theirs)
        assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    assert torch.equal(back.spread_G, state.spread_G)
    assert torch.equal(back.limits_T, state.limits_T)
    assert fresh.read(np.arange(PEOPLE)).offsets_BS[:, 0].tolist() == [0, 0, 0.25, 0, 0, 0, 0, 0.25, 0]


def test_what_was_learnt_after_the_checkpoint_is_forgotten(tmp_path, store, state):
    learn(store, [2], 0.25)
    save_checkpoint(tmp_path / "c", state, store, Progress(4))
    learn(store, [2, 3], 9.0)
    load_checkpoint(tmp_path / "c", store)
    assert store.read(np.array([2, 3])).offsets_BS[:, 0].tolist() == [0.25, 0]


def test_only_the_newest_checkpoint_is_kept(tmp_path, store, state):
    for rounds in (1, 2, 3):
        save_checkpoint(tmp_path / "c", state, store, Progress(rounds))
    save_checkpoint(tmp_path / "c", state, store, Progress(3, adapted=True))
    assert [path.name for path in (tmp_path / "c").iterdir()] == ["round-00000003-adapted"]
    assert load_checkpoint(tmp_path / "c", store)[1].adapted


def test_no_checkpoint_is_told(tmp_path, store):
    with pytest.raises(PfsrError, match="no checkpoint yet"):
        load_checkpoint(tmp_path / "c", store)


@pytest.mark.parametrize("part", ["server.safetensors", "private.safetensors", "progress.json"])
@pytest.mark.parametrize("damage", ["gone", "empty", "half", "other"])
def test_a_damaged_checkpoint_is_told_in_one_line(tmp_path, store, state, part, damage):
    learn(store, [2], 0.25)
    save_checkpoint(tmp_path / "c", state, store, Progress(4))
    path = tmp_path / "c" / "round-00000004" / part
    content = path.read_bytes()
    others = {"server.safetensors": "private.safetensors", "private.safetensors": "server.safetensors"}
    other = path.with_name(others[part]).read_bytes() if part in others else b'{"rounds": 3}'
    if damage == "gone":
        path.unlink()
    else:
        path.write_bytes({"empty": b"", "half": content[: len(content) // 2], "other": other}[damage])
    with pytest.raises(PfsrError) as caught:
        load_checkpoint(tmp_path / "c", store)
    assert "\n" not in str(caught.value)
    assert part in str(caught.value) or "round-00000004" in str(caught.value)


def test_a_full_disk_leaves_the_checkpoint_before(tmp_path, store, state, monkeypatch):
    learn(store, [1], 0.5)
    save_checkpoint(tmp_path / "c", state, store, Progress(1))
    learn(store, [1], 0.75)

    def full(*_):
        raise PfsrError("x: cannot be written: No space left on device")

    monkeypatch.setattr(checkpoint, "write_json", full)
    with pytest.raises(PfsrError, match="No space left"):
        save_checkpoint(tmp_path / "c", state, store, Progress(2))
    fresh = PrivateStore(tmp_path / "private.f32", PEOPLE, OFFSETS)
    assert load_checkpoint(tmp_path / "c", fresh)[1].round == 1
    assert fresh.read(np.array([1])).offsets_BS[0, 0].item() == 0.5
