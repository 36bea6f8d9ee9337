import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pfsr.data import Catalog
from pfsr.errors import PfsrError

IDS = st.lists(st.integers() | st.text() | st.uuids() | st.tuples(st.integers(), st.text()), unique=True)


@given(IDS)
def test_rows_start_at_one_and_lead_back(ids):
    catalog = Catalog(tuple(ids))
    assert len(catalog) == len(ids)
    assert [catalog.row(item) for item in ids] == list(range(1, len(ids) + 1))
    assert [catalog.item_id(row) for row in range(1, len(ids) + 1)] == ids


@given(IDS)
def test_json_gives_back_the_same_catalogue(ids):
    catalog = Catalog(tuple(ids), [f"Title {place}" for place, _ in enumerate(ids)])
    assert Catalog.from_json(json.loads(json.dumps(catalog.to_json()))) == catalog


def test_text_and_number_are_two_items():
    catalog = Catalog(("1", 1, True, 1.0))
    assert [catalog.row(item) for item in ("1", 1, True, 1.0)] == [1, 2, 3, 4]


def test_unknown_item_comes_with_a_hint():
    with pytest.raises(PfsrError, match=r"^item 1 is unknown; did you mean '1'\?$"):
        Catalog(("1", "2")).row(1)


@pytest.mark.parametrize("item", [[1], None, {}, float("nan"), object])
def test_unhashable_or_odd_items_are_merely_unknown(item):
    catalog = Catalog((1,))
    assert not catalog.known(item)
    with pytest.raises(PfsrError, match="unknown"):
        catalog.row(item)


def test_rows_are_int32_also_when_there_are_none():
    catalog = Catalog(("a", "b"))
    rows = catalog.rows(["b", "a", "b"])
    assert rows.dtype == np.int32
    assert rows.tolist() == [2, 1, 2]
    assert catalog.rows([]).shape == (0,)


def test_numpy_ids_find_their_item():
    assert Catalog((10, 20)).row(np.int64(20)) == 2


def test_title_falls_back_to_the_id():
    assert Catalog((10,)).title(1) == "10"
    assert Catalog((10,), ["Ten"]).title(1) == "Ten"


@pytest.mark.parametrize("row", [0, -1, 3])
def test_rows_outside_the_catalogue_are_refused(row):
    with pytest.raises(PfsrError, match="1 to 2"):
        Catalog(("a", "b")).item_id(row)


def test_an_item_twice_is_refused_by_name():
    with pytest.raises(PfsrError, match="'b' occurs twice"):
        Catalog(("a", "b", "b"))


def test_titles_and_ids_must_match_in_number():
    with pytest.raises(PfsrError, match="1 titles for 2 items"):
        Catalog(("a", "b"), ["A"])


@pytest.mark.parametrize("form", [None, {}, {"ids": "ab"}, {"ids": ["a"], "titles": [1]}, {"ids": [[1]]}])
def test_damaged_json_is_refused(form):
    with pytest.raises(PfsrError, match="catalogue"):
        Catalog.from_json(form)
