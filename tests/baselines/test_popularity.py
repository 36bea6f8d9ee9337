import numpy as np
import pytest

from pfsr.baselines.popularity import Popularity
from pfsr.data.sequences import Sequences


def world():
    offsets = np.array([0, 4, 7])
    items = np.array([1, 2, 2, 3, 2, 1, 3], np.int32)
    return Sequences(offsets, items, np.arange(7.0))


def test_counts_training_events_only():
    scores = Popularity.fit(world(), np.array([3, 1]), items=4).score(np.array([0]), [np.array([1])])
    # Training: 1 2 2 | 2, so counts 1, 3, 0, 0, and one added to each.
    np.testing.assert_allclose(np.exp(scores[0, 1:]), [2 / 8, 4 / 8, 1 / 8, 1 / 8], rtol=1e-6)


def test_held_out_events_change_nothing():
    changed = world().items.copy()
    changed[[3, 5, 6]] = 4
    before = Popularity.fit(world(), np.array([3, 1]), items=4)
    after = Popularity.fit(Sequences(world().offsets, changed, world().times), np.array([3, 1]), items=4)
    assert (before.log_shares == after.log_shares).all()


def test_everybody_gets_the_same_row_of_probabilities():
    scores = Popularity.fit(world(), np.array([4, 3]), items=4).score(np.arange(3), [np.array([1])] * 3)
    assert scores.shape == (3, 5)
    assert scores.dtype == np.float32
    assert (scores == scores[0]).all()
    assert np.exp(scores[0, 1:]).sum() == pytest.approx(1)


def test_nobody_has_training_events():
    scores = Popularity.fit(world(), np.array([0, 0]), items=4).score(np.arange(1), [np.array([], np.int32)])
    np.testing.assert_allclose(np.exp(scores[0, 1:]), 1 / 4, rtol=1e-6)
