import sys
import tracemalloc

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pfsr.errors import PfsrError
from pfsr.federated.partition import Private
from pfsr.simulation.private_store import PrivateStore

PEOPLE, OFFSETS = 7, 3


def draw(people: int, seed: int = 0, offsets: int = OFFSETS) -> Private:
    random = torch.Generator().manual_seed(seed)
    table = torch.randn(people, 2 * offsets, generator=random)
    return Private(table[:, :offsets], table[:, offsets:], torch.arange(people) + 1.0)


def flat(private: Private) -> np.ndarray:
    return torch.cat([private.offsets_BS, private.fisher_BS, private.rounds_B[:, None]], 1).numpy()


def test_new_people_have_the_global_model(tmp_path):
    private = PrivateStore(tmp_path / "private", PEOPLE, OFFSETS).read(np.array([3, 0]))
    assert private.offsets_BS.shape == private.fisher_BS.shape == (2, OFFSETS)
    assert not flat(private).any()


STEP = st.tuples(
    st.lists(st.integers(0, PEOPLE - 1), unique=True, min_size=1), st.integers(0, 999), st.booleans()
)


@settings(max_examples=40, deadline=None)
@given(steps=st.lists(STEP, max_size=8))
def test_the_store_is_a_table_and_its_file_holds_what_was_folded(tmp_path_factory, steps):
    path = tmp_path_factory.mktemp("store") / "private"
    store = PrivateStore(path, PEOPLE, OFFSETS)
    table = np.zeros((PEOPLE, 2 * OFFSETS + 1), np.float32)
    folded, touched = table.copy(), set()
    for people, seed, fold in steps:
        private = draw(len(people), seed)
        store.write(np.array(people), private)
        table[people] = flat(private)
        touched |= set(people)
        who, rows = store.changed()
        assert who.tolist() == sorted(touched)
        np.testing.assert_array_equal(rows, table[who])
        if fold:
            store.fold(who, rows)
            folded, touched = table.copy(), set()
        everybody = np.random.default_rng(seed).permutation(PEOPLE)
        np.testing.assert_array_equal(flat(store.read(everybody)), table[everybody])
        reopened = PrivateStore(path, PEOPLE, OFFSETS).read(np.arange(PEOPLE))
        np.testing.assert_array_equal(flat(reopened), folded)


def test_a_killed_run_resumes_from_the_file_and_the_rows_of_its_checkpoint(tmp_path):
    store = PrivateStore(tmp_path / "private", PEOPLE, OFFSETS)
    store.write(np.array([1, 4]), draw(2))
    checkpoint = store.changed()
    store.write(np.array([2]), draw(1, seed=5))
    resumed = PrivateStore(tmp_path / "private", PEOPLE, OFFSETS)
    for _ in range(2):
        resumed.fold(*checkpoint)
    np.testing.assert_array_equal(flat(resumed.read(np.array([1, 4]))), flat(draw(2)))
    assert not flat(resumed.read(np.array([2]))).any()
    assert len(resumed.changed()[0]) == 0


def test_what_was_read_is_a_copy(tmp_path):
    store = PrivateStore(tmp_path / "private", PEOPLE, OFFSETS)
    store.write(np.array([1]), draw(1))
    for part in store.read(np.array([1, 2])):
        part.fill_(99.0)
    np.testing.assert_array_equal(flat(store.read(np.array([1]))), flat(draw(1)))
    assert not flat(store.read(np.array([2]))).any()


def test_what_was_written_is_a_copy(tmp_path):
    store = PrivateStore(tmp_path / "private", PEOPLE, OFFSETS)
    private = draw(1)
    store.write(np.array([1]), private)
    private.offsets_BS.fill_(99.0)
    np.testing.assert_array_equal(flat(store.read(np.array([1]))), flat(draw(1)))


@pytest.mark.parametrize(("people", "offsets"), [(PEOPLE + 1, OFFSETS), (PEOPLE, OFFSETS + 1)])
def test_a_file_of_another_population_or_model_is_refused_and_kept(tmp_path, people, offsets):
    store = PrivateStore(tmp_path / "private", PEOPLE, OFFSETS)
    store.write(np.array([1]), draw(1))
    store.fold(*store.changed())
    before = (tmp_path / "private").read_bytes()
    with pytest.raises(PfsrError, match="another population or model; start the run in a new folder"):
        PrivateStore(tmp_path / "private", people, offsets)
    assert (tmp_path / "private").read_bytes() == before


def test_memory_does_not_grow_with_the_number_of_checkpoints(tmp_path):
    people, private = np.arange(50), draw(50, offsets=1000)
    store = PrivateStore(tmp_path / "private", 50, 1000)
    tracemalloc.start()
    try:
        for _ in range(20):
            store.write(people, private)
            store.fold(*store.changed())
        kept, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert kept < 3 * 50 * 2001 * 4


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="sparse files are told apart on Linux only")
def test_a_million_people_take_little_memory_and_a_sparse_file(tmp_path):
    people, offsets = 1_000_000, 10
    chosen = np.array([5, 999_999, 123_456])
    tracemalloc.start()
    try:
        store = PrivateStore(tmp_path / "private", people, offsets)
        store.write(chosen, draw(3, offsets=offsets))
        store.fold(*store.changed())
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    info = (tmp_path / "private").stat()
    assert info.st_size == people * 21 * 4
    assert info.st_blocks * 512 < 1_000_000
    assert peak < 12_000_000
    np.testing.assert_array_equal(flat(store.read(chosen)), flat(draw(3, offsets=offsets)))
