from collections import Counter

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from pfsr.data.kcore import compact, k_core

EVENTS = st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), max_size=60)


def one_by_one(events, core):
    """Drop a single offender at a time: slow, and obviously right."""
    kept = list(enumerate(events))
    while True:
        users = Counter(user for _, (user, _) in kept)
        items = Counter(item for _, (_, item) in kept)
        smaller = [e for e in kept if users[e[1][0]] >= core and items[e[1][1]] >= core]
        if len(smaller) == len(kept):
            return [place for place, _ in kept]
        dropped = next(e for e in kept if e not in smaller)
        kept.remove(dropped)


@given(EVENTS, st.integers(0, 5))
def test_survivors_are_those_of_dropping_one_by_one(events, core):
    users, items = (np.array([event[side] for event in events], np.int64) for side in (0, 1))
    assert k_core(users, items, core).tolist() == one_by_one(events, core)


@given(st.lists(st.integers(0, 20), min_size=1))
def test_compact_codes_point_back_and_keep_order(codes):
    present, positions = compact(np.array(codes))
    assert present[positions].tolist() == codes
    assert present.tolist() == sorted(set(codes))
