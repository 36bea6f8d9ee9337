import numpy as np
import polars as pl
import pytest

from pfsr.data import Catalog, Dataset, Sequences
from pfsr.errors import PfsrError


def dataset(people):
    count = len(people)
    sequences = Sequences(np.arange(count + 1), np.ones(count, np.int32), np.zeros(count))
    return Dataset("d", people, Catalog(("a",)), sequences)


@pytest.mark.parametrize(
    "people",
    [
        ["a", "b", "1"],
        [5, -1, 2**62],
        [2**63, 2**64 - 1, 3],
        [2**100, 7, -(2**80)],
    ],
)
def test_series_people_are_found_by_id(people):
    data = dataset(pl.Series(people))
    assert [data.person(person) for person in people] == [0, 1, 2]


def test_object_people_are_found_by_id_and_type():
    data = dataset(((1, "x"), True, 1))
    assert [data.person(person) for person in ((1, "x"), True, 1)] == [0, 1, 2]


@pytest.mark.parametrize(("people", "asked", "hint"), [([1, 2], "1", "1"), (["1", "2"], 1, "'1'")])
def test_unknown_person_comes_with_a_hint(people, asked, hint):
    with pytest.raises(PfsrError, match=rf"^person {asked!r} is unknown; did you mean {hint}\?$"):
        dataset(pl.Series(people)).person(asked)


@pytest.mark.parametrize("asked", [2**200, -1, None, [1], True, 1.0])
def test_ids_a_column_cannot_hold_are_unknown(asked):
    with pytest.raises(PfsrError, match="unknown"):
        dataset(pl.Series([1, 2], dtype=pl.UInt8)).person(asked)


def test_people_and_histories_must_match_in_number():
    sequences = Sequences(np.array([0, 1]), np.ones(1, np.int32), np.zeros(1))
    with pytest.raises(PfsrError, match="2 people but 1 histories"):
        Dataset("d", ("a", "b"), Catalog(("a",)), sequences)
