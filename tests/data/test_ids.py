import datetime as dt
import json
import uuid

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pfsr.data.ids import decode, encode, key, plain, unknown
from pfsr.errors import PfsrError

SCALARS = (
    st.text()
    | st.integers()
    | st.booleans()
    | st.floats(allow_nan=False)
    | st.binary()
    | st.uuids()
    | st.dates()
    | st.datetimes()
    | st.datetimes(timezones=st.just(dt.UTC))
)
IDS = st.recursive(SCALARS, lambda parts: st.lists(parts, max_size=3).map(tuple), max_leaves=5)


@given(IDS)
def test_every_id_survives_json_with_its_type(value):
    read = decode(json.loads(json.dumps(encode(value))))
    assert read == value
    assert type(read) is type(value)
    assert key(read) == key(value)


@given(st.lists(IDS, unique_by=lambda value: (type(value).__name__, repr(value)), max_size=6))
def test_ids_of_different_type_have_different_keys(values):
    zeros = {0.0, -0.0}
    distinct = [value for value in values if not (isinstance(value, float) and value in zeros)]
    flat = [value for value in distinct if not isinstance(value, tuple)]
    assert len({key(value) for value in flat}) == len(flat)


def test_equal_values_of_different_type_stay_apart():
    assert len({key(value) for value in (1, "1", True, 1.0, (1,), ("1",), (True,))}) == 7


def test_integers_beyond_json_digits_survive():
    huge = -(10**5000)
    assert decode(json.loads(json.dumps(encode(huge)))) == huge


def test_numpy_scalars_become_plain():
    assert type(plain(np.int64(3))) is int
    assert type(plain(np.str_("x"))) is str
    assert plain((np.int32(1), "a")) == (1, "a")


@pytest.mark.parametrize("value", [None, float("nan"), [1], {"a": 1}, object(), 1j, frozenset(), (1, None)])
def test_other_types_and_missing_values_are_refused(value):
    with pytest.raises(PfsrError) as refusal:
        plain(value)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("form", [None, 1.5, [], {}, {"int": "xyz"}, {"pickle": "x"}, {"int": "1", "b": 2}])
def test_damaged_forms_are_refused(form):
    with pytest.raises(PfsrError, match="damaged"):
        decode(form)


@pytest.mark.parametrize(
    ("asked", "known", "hint"), [(1, "1", "'1'"), ("1", 1, "1"), (1.0, 1, "1"), ("7", 8, None)]
)
def test_hint_names_the_id_of_the_other_type(asked, known, hint):
    message = str(unknown("item", asked, lambda other: key(other) == key(known)))
    assert message == f"item {asked!r} is unknown" + (f"; did you mean {hint}?" if hint else "")


def test_uuid_form_is_readable():
    assert encode(uuid.UUID(int=5)) == {"uuid": "00000000-0000-0000-0000-000000000005"}
