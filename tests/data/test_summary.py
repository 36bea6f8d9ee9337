import io
from collections import Counter

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from pfsr.data import describe, load, read_events
from pfsr.data.summary import moment

SCHEMA = ["user_id", "item_id", "timestamp"]
ROWS = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4), st.integers(0, 4)), min_size=1, max_size=50)


def frame(rows):
    return pl.DataFrame(rows, schema=SCHEMA, orient="row")


@given(ROWS)
def test_numbers_agree_with_counting_by_hand(rows):
    ties = repeats = 0
    previous, seen = {}, set()
    for user, item, time in sorted(rows, key=lambda row: row[2]):
        ties += previous.get(user) == time
        repeats += (user, item) in seen
        previous[user] = time
        seen.add((user, item))
    lengths = Counter(user for user, _, _ in rows)
    summary = describe(frame(rows))
    assert summary.ties == pytest.approx(ties / len(rows))
    assert summary.repeats == pytest.approx(repeats / len(rows))
    assert (summary.people, summary.events) == (len(lengths), len(rows))
    assert summary.items == len({item for _, item, _ in rows})
    assert summary.lengths == pytest.approx(
        np.quantile(list(lengths.values()), [0, 0.1, 0.25, 0.5, 0.75, 0.9, 1])
    )
    assert sum(people for _, _, people in summary.histogram) == len(lengths)
    for shortest, longest, people in summary.histogram:
        assert people == sum(shortest <= length <= longest for length in lengths.values())


def test_table_events_and_data_set_agree():
    rows = frame([("a", "x", 5), ("a", "x", 5), ("a", "y", 6), ("b", "x", 7), ("b", "y", 9)])
    assert describe(rows) == describe(read_events(rows)) == describe(load(rows, core=0))


@pytest.mark.parametrize(
    ("time", "shown"),
    [(978_300_760, "2000-12-31"), (978_300_760_000, "2000-12-31"), (3, "3"), (0.5, "0.5"), (1e16, "1e+16")],
)
def test_moments_are_dates_only_where_they_look_like_it(time, shown):
    assert moment(time) == shown


def test_rendering_shows_numbers_and_bars():
    text = io.StringIO()
    rows = [("a", "x", 978_300_760 + n) for n in range(9)] + [("b", "y", 978_300_760)]
    Console(file=text, width=100).print(describe(frame(rows)))
    shown = text.getvalue()
    assert "2000-12-31" in shown
    assert "repeats" in shown
    assert "80.0%" in shown
    assert "8-15" in shown
    assert "█" in shown
