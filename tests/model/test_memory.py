"""A memory of pairs against its formula written out with dictionaries, and files that hold none."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pfsr.model.memory import DOUBT, FADE, REACH, PairHeader, PairMemory

ITEMS = 9
TABLE = {1: {2: 3.0, 5: 0.5}, 2: {1: 1.25, 9: 4.0}, 4: {4: 2.0, 7: 0.25}, 9: {3: 1.0}}
DROPPED = {1: 1.5, 3: 2.0, 9: 0.25}


def build(table=TABLE, dropped=DROPPED, weight=0.25, share=0.3, repeats=False) -> PairMemory:
    rows = [sorted(table.get(first, {}).items()) for first in range(ITEMS + 1)]
    totals = [sum(n for _, n in row) + dropped.get(first, 0.0) for first, row in enumerate(rows)]
    return PairMemory(
        np.cumsum([0, *(len(row) for row in rows)]).astype(np.int64),
        np.array([item for row in rows for item, _ in row], np.int32),
        np.array([n for row in rows for _, n in row], np.float32),
        np.array(totals, np.float32),
        weight,
        share,
        repeats,
    )


def by_hand(scores, history, memory, table=TABLE, dropped=DROPPED):
    """Return the probability of every item, seen ones included, as the module's text defines it."""
    m, total = dict.fromkeys(range(1, ITEMS + 1), 0.0), 0.0
    for a, first in enumerate(reversed(history[-REACH:])):
        for item, n in table.get(first, {}).items():
            m[item] += FADE**a * n
        total += FADE**a * (sum(table.get(first, {}).values()) + dropped.get(first, 0.0))
    odds = {i: math.exp(scores[i]) * (1 + m[i]) ** memory.weight for i in m}
    competing = [i for i in m if memory.repeats or i not in history]
    whole = sum(odds[i] for i in competing)
    alone = {i: memory.share * m[i] / (total + DOUBT) for i in m}
    left = 1 - sum(alone[i] for i in competing)
    return {i: left * odds[i] / whole + alone[i] for i in m}


histories = st.lists(st.integers(1, ITEMS), min_size=1, max_size=6)
some_scores = st.lists(st.floats(-8, 8), min_size=ITEMS, max_size=ITEMS).map(
    lambda found: np.array([-np.inf, *found], np.float32)
)


@given(some_scores, histories, st.floats(0, 2), st.floats(0, 0.9), st.booleans())
def test_scores_are_those_of_the_formula(scores, history, weight, share, repeats):
    memory = build(weight=weight, share=share, repeats=repeats)
    competing = set(range(1, ITEMS + 1)) - (set() if repeats else set(history))
    found = memory.add_to(scores, np.array(history[-REACH:]), np.array(history))
    assert found.dtype == np.float32
    assert found[0] == -np.inf
    assert np.isfinite(found[1:]).all()
    if not competing or not len(memory.recall(np.array(history)).rows_n):
        return
    wanted = by_hand(scores, history, memory)
    np.testing.assert_allclose(np.exp(found[1:].astype(float)), list(wanted.values()), rtol=1e-4, atol=1e-7)
    assert sum(math.exp(found[i]) for i in competing) == pytest.approx(1, abs=1e-4)


@given(some_scores, histories)
def test_without_weight_and_share_nothing_is_added(scores, history):
    memory = build(weight=0, share=0)
    found = memory.add_to(scores, np.array(history[-REACH:]), np.array(history))
    np.testing.assert_allclose(found[1:] - found[1], scores[1:] - scores[1], atol=1e-4)


def test_a_history_that_calls_nothing_to_mind_keeps_its_scores():
    scores = np.array([-np.inf, *range(ITEMS)], np.float32)
    for newest in ([], [3], [7, 8]):
        assert np.array_equal(build().add_to(scores, np.array(newest, int), np.array(newest, int)), scores)


def test_only_the_newest_events_are_read_and_the_newest_count_most():
    memory = build()
    assert memory.recall(np.array([4, 1, 1, 1])).rows_n.tolist() == [2, 5]
    recalled = memory.recall(np.array([2, 1]))
    assert recalled.rows_n.tolist() == [1, 2, 5, 9]
    assert recalled.counts_n.tolist() == [1.25 * FADE, 3, 0.5, 4 * FADE]
    assert recalled.total == pytest.approx(5 + 5.25 * FADE)


def test_what_a_person_has_had_takes_nothing_from_the_rest():
    scores, louder = np.zeros(ITEMS + 1, np.float32), np.zeros(ITEMS + 1, np.float32)
    scores[0] = louder[0] = -np.inf
    louder[2] = 9  # in the history, and what item 1 calls to mind
    history = np.array([2, 1])
    others = [i for i in range(1, ITEMS + 1) if i not in (1, 2)]
    kept, again = build(), build(repeats=True)
    np.testing.assert_allclose(
        kept.add_to(scores, history, history)[others], kept.add_to(louder, history, history)[others]
    )
    assert (again.add_to(scores, history, history)[3] - again.add_to(louder, history, history)[3]) > 1


def test_what_dropped_pairs_would_have_had_stays_with_the_encoder():
    scores, history = np.array([-np.inf, *[0.0] * ITEMS], np.float32), np.array([1])
    kept, lost = (build(dropped=dropped).add_to(scores, history, history) for dropped in ({}, {1: 100.0}))
    assert kept[2] > lost[2]
    assert kept[3] < lost[3]


def told(memory: PairMemory, **arrays) -> PairMemory:
    changed = {f"memory.{name}": np.array(array) for name, array in arrays.items()}
    return PairMemory.read(memory.header(), memory.arrays() | changed, ITEMS)


def test_a_memory_comes_back_from_its_arrays():
    memory = build()
    again = told(memory)
    assert again.header() == PairHeader(weight=0.25, share=0.3, repeats=False) == memory.header()
    for name, array in memory.arrays().items():
        assert np.array_equal(again.arrays()[name], array)


@pytest.mark.parametrize(
    ("arrays", "why"),
    [
        ({"starts": np.zeros(3, np.int64)}, "do not fit the catalogue"),
        ({"counts": np.ones(6, np.float32)}, "do not fit the catalogue"),
        ({"starts": np.array([0, 0, 2, 1, 4, 6, 6, 6, 6, 6, 7])}, "out of order"),
        ({"starts": np.zeros(ITEMS + 2, np.int64)}, "out of order"),
        ({"starts": np.array([0, 0, 2**40, -(2**63), -1, 0, 0, 0, 0, 0, 6])}, "out of order"),
        ({"totals": np.zeros(ITEMS + 1, np.float32)}, "exceed their totals"),
        ({"following": np.full(7, ITEMS + 1, np.int32)}, "lacks"),
        ({"following": np.zeros(7, np.int32)}, "lacks"),
        ({"counts": np.full(7, np.nan, np.float32)}, "no counts"),
        ({"totals": np.full(ITEMS + 1, -1, np.float32)}, "no counts"),
        ({"totals": np.ones(ITEMS + 1)}, "types"),
        ({"starts": np.zeros((1, ITEMS + 2), np.int64)}, "types"),
        ({"surprise": np.zeros(1)}, "other arrays"),
    ],
)
def test_arrays_that_are_no_memory_are_refused(arrays, why):
    with pytest.raises(ValueError, match=why):
        told(build(), **arrays)


def test_the_busiest_item_begins_most_pairs():
    assert build().busiest() in (1, 2, 4)
    assert build({3: {1: 1.0}, 5: {1: 1.0, 2: 1.0}}).busiest() == 5
