"""What one device counts for the memory of pairs, and what of it is left in the sum."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pfsr.config import Config
from pfsr.federated.pairs import own_pairs, pair_bytes, pair_fields, remember
from pfsr.model.memory import FADE, REACH

ITEMS = 6
histories = st.lists(st.integers(1, ITEMS), max_size=12)
crowds = st.lists(histories, min_size=1, max_size=8)


def by_hand(history):
    """Return (first, second) -> events from one to the other, at the closest."""
    apart = {}
    for place, first in enumerate(history):
        for gap, second in enumerate(history[place + 1 : place + 1 + REACH], start=1):
            if first != second:
                apart[first, second] = min(gap, apart.get((first, second), REACH))
    return apart


def counted(crowd, people=1):
    config = Config.model_validate({"memory": {"mode": "pairs", "people": people}})
    memory = remember([own_pairs(np.array(history, np.int32)) for history in crowd], ITEMS, config)
    table = {}
    for first in range(ITEMS + 1):
        for place in range(memory.starts[first], memory.starts[first + 1]):
            table[first, int(memory.following[place])] = float(memory.counts[place])
    return memory, table


@given(histories)
def test_own_pairs_are_those_within_reach_each_once(history):
    pairs = own_pairs(np.array(history, np.int32))
    columns = (pairs.first_n.tolist(), pairs.second_n.tolist(), pairs.apart_n.tolist())
    found = [((first, second), apart) for first, second, apart in zip(*columns, strict=True)]
    assert sorted(found) == sorted(by_hand(history).items())


@given(crowds, st.integers(1, 3))
def test_the_sum_holds_the_pairs_that_enough_people_share(crowd, people):
    wanted, sharing = {}, {}
    for history in crowd:
        for pair, apart in by_hand(history).items():
            wanted[pair] = wanted.get(pair, 0) + FADE ** (apart - 1)
            sharing[pair] = sharing.get(pair, 0) + 1
    memory, table = counted(crowd, people)
    assert table == pytest.approx({pair: n for pair, n in wanted.items() if sharing[pair] >= people})
    totals = [sum(n for (first, _), n in wanted.items() if first == row) for row in range(ITEMS + 1)]
    np.testing.assert_allclose(memory.totals, totals, rtol=1e-6)


@given(crowds, histories)
def test_nobody_adds_more_than_one_to_any_count(crowd, one_more):
    before, after = counted(crowd)[1], counted([*crowd, one_more])[1]
    assert before.keys() <= after.keys()
    assert all(0 <= n - before.get(pair, 0) <= 1 + 1e-6 for pair, n in after.items())


def test_what_one_person_has_alone_is_dropped_but_for_its_number():
    memory, table = counted([[1, 2], [1, 2], [3, 4]], people=2)
    assert table == {(1, 2): 2.0}
    assert memory.totals.tolist() == [0, 2, 0, 1, 0, 0, 0]


def test_the_order_of_the_people_does_not_matter():
    crowd = [[1, 2, 3], [2, 3, 1, 2], [3, 3, 1], []]
    assert counted(crowd)[1] == counted(crowd[::-1])[1]


def test_a_message_has_two_rows_and_a_distance_for_every_pair_and_nothing_else():
    assert [(field.name, field.bits) for field in pair_fields(5)] == [
        ("first", 32),
        ("second", 32),
        ("apart", 8),
    ]
    assert pair_bytes(5) == 45


def test_the_settings_go_with_the_memory():
    told = {"memory": {"mode": "pairs", "weight": 0.5, "share": 0.1}, "objective": {"seen": "kept"}}
    memory = remember([own_pairs(np.array([1, 2]))], ITEMS, Config.model_validate(told))
    assert (memory.weight, memory.share, memory.repeats) == (0.5, 0.1, True)
