import os
from collections import Counter
from itertools import pairwise
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pfsr.baselines.markov import Markov
from pfsr.baselines.popularity import Popularity
from pfsr.data.sequences import Sequences
from pfsr.data.split import Targets
from pfsr.evaluation.evaluate import evaluate

ITEMS = 6
HISTORIES = st.lists(st.lists(st.integers(1, ITEMS), max_size=8), min_size=1, max_size=6)


def sequences_of(histories):
    offsets = np.cumsum([0, *map(len, histories)])
    items = np.array([item for history in histories for item in history], np.int32)
    return Sequences(offsets, items, np.arange(len(items), dtype=np.float64))


@given(HISTORIES, st.data())
def test_probabilities_are_the_counted_transitions(histories, data):
    ends = np.array([data.draw(st.integers(0, len(history))) for history in histories])
    last = data.draw(st.integers(1, ITEMS))
    prefixes = [history[:end] for history, end in zip(histories, ends, strict=True)]
    pairs = Counter(pair for prefix in prefixes for pair in pairwise(prefix))
    events = Counter(item for prefix in prefixes for item in prefix)
    share = {i: (events[i] + 1) / (sum(events.values()) + ITEMS) for i in range(1, ITEMS + 1)}
    scores = Markov.fit(sequences_of(histories), ends, ITEMS).score(np.array([0]), [np.array([3, last])])
    expected = [pairs[last, i] + share[i] for i in range(1, ITEMS + 1)]
    np.testing.assert_allclose(np.exp(scores[0, 1:]), expected, rtol=1e-5)


def test_a_persons_first_event_follows_nothing():
    markov = Markov.fit(sequences_of([[1, 2], [], [3, 4]]), np.array([2, 0, 2]), ITEMS)
    assert markov.following.tolist() == [2, 4]


def test_ties_are_broken_by_popularity_and_never_outweigh_a_count():
    histories = [[1, 2], [1, 3], [3], [4]] + [[4]] * 50
    markov = Markov.fit(sequences_of(histories), np.array([len(h) for h in histories]), ITEMS)
    order = np.argsort(-markov.score(np.array([0]), [np.array([1])])[0, 1:], kind="stable") + 1
    assert order[:3].tolist() == [3, 2, 4]


def test_without_a_history_it_is_popularity():
    sequences, ends = sequences_of([[1, 2, 2], [3]]), np.array([3, 1])
    empty = [np.array([], np.int32)]
    expected = Popularity.fit(sequences, ends, ITEMS).score(np.array([0]), empty)
    np.testing.assert_allclose(Markov.fit(sequences, ends, ITEMS).score(np.array([0]), empty), expected)


def test_a_large_catalogue_stays_sparse():
    items = 60_000
    path = list(range(1, items + 1))
    markov = Markov.fit(sequences_of([path]), np.array([items]), items)
    assert len(markov.counts) == items - 1
    assert markov.score(np.array([0]), [np.array([42])])[0].argmax() == 43


# Independent counts of another code base: HR@10 of the last event, seen items masked.
ANCHORS = {"ml-100k": (0.086, 0.145), "ml-1m": (0.036, 0.215)}


@pytest.mark.skipif("PFSR_DATA" not in os.environ, reason="needs PFSR_DATA, a folder with real data sets")
@pytest.mark.parametrize("name", ANCHORS)
def test_hit_rates_on_real_data(name):
    table = pl.read_csv(Path(os.environ["PFSR_DATA"]) / f"{name}.csv.gz")
    table = table.sort("user_id", "timestamp", maintain_order=True)
    rows = table["item_id"].rank("dense").to_numpy().astype(np.int32)
    lengths = table["user_id"].rle().struct.field("len").to_numpy().astype(np.int64)
    sequences = Sequences(np.cumsum([0, *lengths]), rows, table["timestamp"].to_numpy().astype(np.float64))
    ends, items = lengths - 1, int(rows.max())
    targets = Targets(np.arange(len(lengths)), ends, rows[sequences.offsets[1:] - 1])
    for method, expected in zip((Popularity, Markov), ANCHORS[name], strict=True):
        result = evaluate(method.fit(sequences, ends, items), sequences, targets, ends, items=items)
        assert result.metrics()["HR@10"] == pytest.approx(expected, abs=0.0006)
