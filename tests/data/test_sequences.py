import numpy as np
import pytest

from pfsr.data import Sequences
from pfsr.errors import PfsrError


@pytest.fixture
def sequences():
    return Sequences(np.array([0, 2, 5]), np.array([1, 2, 3, 1, 2], np.int32), np.arange(5.0))


def test_history_is_a_prefix_of_one_person(sequences):
    assert len(sequences) == 2
    assert sequences.lengths.tolist() == [2, 3]
    assert sequences.history(1).tolist() == [3, 1, 2]
    assert sequences.history(1, 2).tolist() == [3, 1]
    assert sequences.history(1, 0).tolist() == []


@pytest.mark.parametrize(
    ("count", "left"), [(0, [[1, 2], [3, 1, 2]]), (1, [[1], [3, 1]]), (2, [[], [3]]), (9, [[], []])]
)
def test_last_events_are_left_off_each_history(sequences, count, left):
    shorter = sequences.without_last(count)
    assert [shorter.history(person).tolist() for person in range(2)] == left
    assert len(shorter.times) == shorter.offsets[-1] == len(shorter.items)
    assert set(zip(shorter.items, shorter.times, strict=True)) <= set(
        zip(sequences.items, sequences.times, strict=True)
    )


def test_saved_arrays_come_back_mapped(sequences, tmp_path):
    sequences.save(tmp_path / "s")
    opened = Sequences.open(tmp_path / "s")
    assert isinstance(opened.items, np.memmap)
    for name in ("offsets", "items", "times"):
        np.testing.assert_array_equal(getattr(opened, name), getattr(sequences, name))
        assert getattr(opened, name).dtype == getattr(sequences, name).dtype


def test_saving_leaves_no_other_file(sequences, tmp_path):
    sequences.save(tmp_path)
    sequences.save(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["items.npy", "offsets.npy", "times.npy"]


@pytest.mark.parametrize(
    "damage", [lambda p: p.unlink(), lambda p: p.write_bytes(b""), lambda p: p.write_bytes(b"x" * 99)]
)
def test_a_missing_or_damaged_array_is_named(sequences, tmp_path, damage):
    sequences.save(tmp_path)
    damage(tmp_path / "items.npy")
    with pytest.raises(PfsrError, match=r"items\.npy"):
        Sequences.open(tmp_path)


def test_pickled_arrays_are_never_opened(sequences, tmp_path):
    sequences.save(tmp_path)
    np.save(tmp_path / "items.npy", np.array([{}], object), allow_pickle=True)
    with pytest.raises(PfsrError, match=r"items\.npy"):
        Sequences.open(tmp_path)


def test_arrays_of_different_sets_are_refused(sequences, tmp_path):
    sequences.save(tmp_path)
    np.save(tmp_path / "times.npy", np.arange(4.0))
    with pytest.raises(PfsrError, match="do not belong together"):
        Sequences.open(tmp_path)
