import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pfsr.data import large_population
from pfsr.errors import PfsrError


@given(st.integers(1, 50), st.integers(1, 300), st.floats(3, 20), st.integers(0, 5))
def test_any_size_is_well_formed(people, items, mean_length, seed):
    data = large_population(people, items, mean_length, seed)
    sequences = data.sequences
    assert len(data.people) == len(sequences) == people
    assert len(data.catalog) == items
    assert sequences.items.dtype == np.int32
    assert sequences.items.min() >= 1
    assert sequences.items.max() <= items
    assert sequences.lengths.min() >= 3
    assert sequences.offsets[-1] == len(sequences.items) == len(sequences.times)
    for person in range(people):
        mine = sequences.times[sequences.offsets[person] : sequences.offsets[person + 1]]
        assert (np.diff(mine) >= 0).all()


def test_people_are_numbers_in_a_series_and_events_as_many_as_asked():
    data = large_population(20_000, 5_000, 12, seed=1)
    assert isinstance(data.people, pl.Series)
    assert data.person(19_999) == 19_999
    assert data.sequences.lengths.mean() == pytest.approx(12, rel=0.03)


def test_items_follow_one_another_and_popularity_is_skewed():
    data = large_population(5_000, 1_000, 12, seed=1)
    items = data.sequences.items
    assert (np.diff(items) == 1).mean() > 0.35
    busiest = np.sort(np.bincount(items))[::-1]
    assert busiest[:100].sum() > 0.2 * len(items)


def test_same_seed_same_population():
    one, same, other = (large_population(100, 50, 8, seed) for seed in (1, 1, 2))
    assert np.array_equal(one.sequences.items, same.sequences.items)
    assert not np.array_equal(one.sequences.offsets, other.sequences.offsets)


@pytest.mark.parametrize("sizes", [(0, 5, 12), (5, 0, 12), (5, 5, 2)])
def test_sizes_too_small_are_refused(sizes):
    with pytest.raises(PfsrError, match="large_population"):
        large_population(*sizes)
