"""The best items, exactly and through an index; the oracle is a sort."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pfsr.device.ranking import NeighbourIndex, best_places, measured_expansion
from pfsr.errors import PfsrError

SCORES = st.lists(st.one_of(st.integers(-3, 3).map(float), st.just(-np.inf)), min_size=1, max_size=40)


@given(SCORES, st.integers(1, 50))
def test_best_places_are_those_of_a_stable_sort(scores, k):
    ranked = sorted(range(len(scores)), key=lambda place: (-scores[place], place))
    expected = [place for place in ranked if scores[place] > -np.inf][:k]
    assert best_places(np.array(scores, np.float32), k).tolist() == expected


@pytest.fixture(scope="module")
def world():
    """Return vectors of a mixture with unequal lengths, biases, and queries near the clusters."""
    random = np.random.default_rng(0)
    centres = random.standard_normal((20, 16))
    vectors = centres[random.integers(20, size=2000)] + 0.7 * random.standard_normal((2000, 16))
    vectors *= random.lognormal(0, 0.3, (2000, 1))
    queries = centres[random.integers(20, size=40)] + 0.5 * random.standard_normal((40, 16))
    return tuple(part.astype(np.float32) for part in (vectors, random.standard_normal(2000), queries))


@pytest.fixture(scope="module")
def index(world):
    return NeighbourIndex.build(*world[:2])


def exact(world, query):
    return np.append(np.float32(-np.inf), world[0] @ query + world[1])


def test_an_index_finds_the_best_by_inner_product_and_bias(world, index):
    expansion, recall = measured_expansion(index, world[2], lambda query: exact(world, query))
    assert expansion in (128, 192, 256)  # several threads build the graph, never quite the same one
    assert recall >= 0.97
    found = [set(index.search(query, 10)) & set(best_places(exact(world, query), 10)) for query in world[2]]
    assert np.mean([len(both) / 10 for both in found]) == pytest.approx(recall)


def test_it_is_told_how_far_an_index_is(world):
    told = []
    NeighbourIndex.build(*world[:2], lambda done, total: told.append((done, total)))
    assert told == sorted(told)
    assert {total for _, total in told} == {2000}
    assert 0 < told[0][0] <= told[-1][0] <= 2000


def test_a_saved_index_answers_as_before(world, index, tmp_path):
    index.widen(256)
    index.save(tmp_path)
    opened = NeighbourIndex.open(tmp_path, 256)
    for query in world[2]:
        assert opened.search(query, 10).tolist() == index.search(query, 10).tolist()


@pytest.mark.parametrize("seen", [0, 5, 300, 1500, 1995, 2000])
def test_what_is_excluded_is_made_up_for(world, index, seen):
    index.widen(128)
    query = world[2][0]
    order = best_places(exact(world, query), 2000)
    excluded = np.sort(order[:seen])
    rows = index.search_without(query, 10, excluded)
    assert not set(rows) & set(excluded)
    expected = order[seen : seen + 10]
    assert len(rows) >= len(expected)
    assert len(set(rows[: len(expected)]) & set(expected)) >= 0.8 * len(expected)


def test_a_damaged_index_is_refused(index, tmp_path):
    index.save(tmp_path)
    (tmp_path / "items.usearch").write_bytes(b"no index")
    with pytest.raises(PfsrError, match=r"items\.usearch"):
        NeighbourIndex.open(tmp_path, 128)


def test_without_usearch_the_error_names_the_extra(monkeypatch, tmp_path):
    monkeypatch.setitem(__import__("sys").modules, "usearch.index", None)
    with pytest.raises(PfsrError, match=r"pip install 'pfsr\[device\]'"):
        NeighbourIndex.open(tmp_path, 128)
