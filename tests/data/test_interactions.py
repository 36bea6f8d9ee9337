import datetime as dt
import uuid

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pfsr.data.interactions import from_frame
from pfsr.errors import PfsrError

COLUMNS = {"user_id": ["b", "a", "b"], "item_id": [7, 2**62, 7], "timestamp": [1, 2, 3]}


@pytest.mark.parametrize("make", [pd.DataFrame, pl.DataFrame, pl.LazyFrame, pa.table])
def test_every_kind_of_table_reads_the_same(make):
    events = from_frame(make(COLUMNS))
    assert events.users.tolist() == [0, 1, 0]
    assert events.items.tolist() == [0, 1, 0]
    assert events.times.tolist() == [1.0, 2.0, 3.0]
    assert isinstance(events.people, pl.Series)
    assert events.people.to_list() == ["b", "a"]
    assert events.item_ids.to_list() == [7, 2**62]


@pytest.mark.parametrize(
    "ids",
    [
        [(1, "a"), (1, "b")],
        [uuid.UUID(int=1), uuid.UUID(int=2)],
        [1, "1"],
        [1, True],
        [2**200, -(2**200)],
        [dt.date(2020, 1, 1), dt.date(2021, 1, 1)],
        ["\ud800", "x"],
        [b"x", b"y"],
    ],
)
def test_object_columns_hold_any_id(ids):
    frame = pd.DataFrame({"user_id": pd.Series(ids, dtype=object), "item_id": "i", "timestamp": 1})
    assert list(from_frame(frame).people) == ids
    assert [type(person) for person in from_frame(frame).people] == [type(person) for person in ids]


@pytest.mark.parametrize("dtype", ["uint64", "Int64", "int8", "category"])
def test_pandas_integers_stay_integers(dtype):
    largest = 2**64 - 1 if dtype == "uint64" else 100
    ids = pd.Series([largest, 1]).astype(dtype)
    events = from_frame(pd.DataFrame({"user_id": ids, "item_id": ids, "timestamp": [1, 2]}))
    assert list(events.people) == [largest, 1]


@pytest.mark.parametrize("dtype", [pl.Categorical, pl.Enum(["x", "y"])])
def test_categories_are_text(dtype):
    frame = pl.DataFrame({"user_id": pl.Series(["y", "x"], dtype=dtype), "item_id": "i", "timestamp": 1})
    assert from_frame(frame).people.to_list() == ["y", "x"]


MOMENT = dt.datetime(2020, 1, 1, 12, tzinfo=dt.UTC)


@pytest.mark.parametrize(
    "times",
    [
        pd.Series([pd.Timestamp(MOMENT)]),
        pd.Series([pd.Timestamp(MOMENT.replace(tzinfo=None))]),
        pd.Series([pd.Timestamp(MOMENT)]).dt.tz_convert("Asia/Tokyo"),
        pd.Series([str(int(MOMENT.timestamp()))]),
    ],
    ids=["utc", "naive", "tokyo", "text"],
)
def test_moments_become_seconds(times):
    frame = pd.DataFrame({"user_id": ["a"], "item_id": ["i"], "timestamp": times})
    assert from_frame(frame).times.tolist() == [MOMENT.timestamp()]
    assert from_frame(pl.from_pandas(frame)).times.tolist() == [MOMENT.timestamp()]


@pytest.mark.parametrize("column", ["user_id", "item_id", "timestamp"])
@pytest.mark.parametrize("make", [pd.DataFrame, pl.DataFrame, pa.table])
def test_missing_values_are_refused_with_their_row(make, column):
    data = {**COLUMNS, column: [COLUMNS[column][0], None, COLUMNS[column][2]]}
    with pytest.raises(PfsrError, match=rf"table: {column}.*row 1"):
        from_frame(make(data))


@pytest.mark.parametrize(
    ("time", "why"),
    [
        (float("nan"), "plausible"),
        (-1, "negative"),
        (1e17, "plausible"),
        (float("inf"), "plausible"),
        ("x", "number"),
    ],
)
def test_wrong_times_are_refused(time, why):
    with pytest.raises(PfsrError, match=f"timestamp .*{why}.* on row 1"):
        from_frame(pl.DataFrame({"user_id": "a", "item_id": "i", "timestamp": [type(time)(1), time]}))


@pytest.mark.parametrize("ids", [[[1], [2]], [{"a": 1}, {"a": 2}]])
def test_unsupported_ids_are_refused_with_their_row(ids):
    for make in (pd.DataFrame, pl.DataFrame):
        with pytest.raises(PfsrError, match=r"user_id on row 0 .*not supported") as refusal:
            from_frame(make({"user_id": ids, "item_id": "i", "timestamp": 1}))
        assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("thing", [3, None, [1], {"user_id": [1]}, np.zeros((3, 3))])
def test_what_is_no_table_is_refused(thing):
    with pytest.raises(PfsrError, match="neither a file nor a table"):
        from_frame(thing)


def test_columns_can_have_other_names_but_not_other_keys():
    frame = pl.DataFrame({"who": ["a"], "what": ["i"], "when": [1]})
    names = {"user_id": "who", "item_id": "what", "timestamp": "when"}
    assert from_frame(frame, names).people.to_list() == ["a"]
    with pytest.raises(PfsrError, match="'user' is unknown; the keys are user_id"):
        from_frame(frame, {"user": "who"})
    with pytest.raises(PfsrError, match="no column 'user_id'; it has 'who, what, when'"):
        from_frame(frame)


def test_an_empty_table_is_refused():
    with pytest.raises(PfsrError, match="no events"):
        from_frame(pl.DataFrame(COLUMNS).clear())


@given(st.lists(st.tuples(st.integers(-5, 2**63 - 1), st.text(min_size=1)), min_size=1))
def test_codes_lead_back_to_ids_by_first_appearance(rows):
    users, items = ([row[side] for row in rows] for side in (0, 1))
    events = from_frame(pd.DataFrame({"user_id": users, "item_id": items, "timestamp": 0}))
    assert [events.people[code] for code in events.users.tolist()] == users
    assert [events.item_ids[code] for code in events.items.tolist()] == items
    assert list(events.people) == list(dict.fromkeys(users))
