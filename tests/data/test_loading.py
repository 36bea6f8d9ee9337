import gzip
import os
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pfsr.config import DataConfig
from pfsr.data import describe, load, load_config
from pfsr.data.loading import whole_paths
from pfsr.data.split import split
from pfsr.errors import PfsrError

REAL = os.environ.get("PFSR_DATA")
EVENTS = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4), st.integers(0, 3)), min_size=1, max_size=40)


def frame(rows):
    return pl.DataFrame(rows, schema=["user_id", "item_id", "timestamp"], orient="row")


def histories(data):
    """Return {user id: [(item id, time), ...]}."""
    return {
        person: [
            (data.catalog.item_id(row), time)
            for row, time in zip(
                data.sequences.history(place).tolist(),
                data.sequences.times[data.sequences.offsets[place] : data.sequences.offsets[place + 1]],
                strict=True,
            )
        ]
        for place, person in enumerate(data.people)
    }


@given(EVENTS)
def test_histories_are_the_events_in_stable_order_of_time(rows):
    everybody = rows + [(user, item, 9) for user in range(5) for item in range(2)]
    expected = {}
    for user, item, time in everybody:
        expected.setdefault(user, []).append((item, time))
    data = load(frame(everybody), core=0)
    assert histories(data) == {user: sorted(mine, key=lambda e: e[1]) for user, mine in expected.items()}
    assert list(data.people) == list(dict.fromkeys(user for user, _, _ in everybody))
    assert list(data.catalog.ids) == list(dict.fromkeys(item for _, item, _ in everybody))


@given(EVENTS, st.integers(2, 4))
def test_every_survivor_has_as_many_events_as_the_core_asks(rows, core):
    try:
        data = load(frame(rows), core=core)
    except PfsrError as refusal:
        assert f"{core}-core" in str(refusal)
        return
    assert data.sequences.lengths.min() >= core
    assert np.bincount(data.sequences.items)[1:].min() >= core


def test_order_of_ties_is_that_of_the_source():
    data = load(frame([("a", "x", 2), ("b", "x", 1), ("a", "y", 1), ("a", "z", 1), ("b", "y", 1)]), core=0)
    assert histories(data) == {"a": [("y", 1), ("z", 1), ("x", 2)], "b": [("x", 1), ("y", 1)]}


def test_duplicated_events_are_kept():
    assert load(frame([("a", "x", 1)] * 3), core=0).sequences.lengths.tolist() == [3]


def test_huge_ids_cost_no_memory():
    data = load(frame([(2**62, 2**61, 1), (2**62, 5, 2)]), core=0)
    assert data.person(2**62) == 0
    assert data.catalog.row(2**61) == 1


@pytest.mark.parametrize("core", [0, 1])
def test_a_single_event_is_refused_with_its_person(core):
    with pytest.raises(PfsrError, match=r"2 people have a single event \(the first is 'b'\).*data.core"):
        load(frame([("a", "x", 1), ("b", "x", 1), ("a", "x", 1), ("c", "x", 1)]), core=core)


def test_a_core_that_leaves_nobody_is_refused():
    with pytest.raises(PfsrError, match="nobody has 3 events left after the 3-core filter"):
        load(frame([("a", "x", 1), ("a", "y", 1)]), core=3)


def test_titles_are_found_beside_the_file_or_by_name(tmp_path):
    path, titles = tmp_path / "shop.csv.gz", tmp_path / "shop.items.csv.gz"
    path.write_bytes(gzip.compress(b"user_id,item_id,timestamp\na,1,1\na,2,2\n"))
    assert load(path, core=0).catalog.titles is None
    titles.write_bytes(gzip.compress(b"item_id,title\n1,One\n"))
    assert load(path, core=0).catalog.titles == ["One", "2"]
    numbers = load(frame([("a", 1, 1), ("a", 2, 2)]), titles=titles, core=0)
    assert numbers.catalog.titles == ["One", "2"]
    assert load(str(path), core=0).name == "shop"


def test_text_and_parquet_hold_the_same_histories(tmp_path):
    table = frame([("b", "x", 3), ("a", "x", 2), ("b", "y", 1), ("a", "y", 2)])
    table.write_csv(tmp_path / "t.csv")
    table.write_csv(tmp_path / "t.tsv", separator="\t")
    table.write_parquet(tmp_path / "t.parquet")
    expected = histories(load(table, core=0))
    assert all(histories(load(path, core=0)) == expected for path in tmp_path.iterdir())


def test_config_section_names_source_columns_and_core(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("who,what,when\na,x,1\na,y,2\nb,x,1\n")
    config = DataConfig(source=str(path), user_column="who", item_column="what", time_column="when", core=1)
    with pytest.raises(PfsrError, match="single event"):
        load_config(config)
    path.write_text("who,what,when\na,x,1\na,y,2\n")
    assert histories(load_config(config)) == {"a": [("x", 1), ("y", 2)]}


def test_default_config_loads_the_synthetic_world():
    data = load_config(DataConfig())
    assert data.name == "synthetic"
    assert data.sequences.lengths.min() >= 5
    assert all(title.startswith("Synthetic ") for title in data.catalog.titles)


@pytest.mark.skipif(not REAL, reason="PFSR_DATA names no folder of real data")
@pytest.mark.parametrize(
    ("name", "people", "items", "events", "longest"),
    [
        ("ml-100k", 943, 1682, 100_000, 737),
        ("ml-1m", 6040, 3706, 1_000_209, 2314),
        ("ml-1m-sasrec", 6040, 3416, 999_611, 2277),
        ("amazon-beauty", 22_363, 12_101, 198_502, 204),
        ("steam-100k", 10_369, 3593, 126_824, 973),
    ],
)
def test_real_data_has_its_published_size(name, people, items, events, longest):
    data = load(Path(REAL) / f"{name}.csv.gz", core=0)
    summary = describe(data)
    assert (summary.people, summary.items, summary.events, summary.lengths[-1]) == (
        people,
        items,
        events,
        longest,
    )
    assert len(data.catalog.titles) == items


@pytest.mark.skipif(not REAL, reason="PFSR_DATA names no folder of real data")
def test_foreign_formats_hold_the_same_histories():
    folder = Path(REAL) / "ml-100k-formats"
    tab = load(folder / "u.data", titles=folder / "u.item")
    recbole = load(folder / "ml-100k.inter", titles=folder / "ml-100k.item")
    ours = load(Path(REAL) / "ml-100k.csv.gz")
    assert histories(tab) == histories(recbole)
    assert {user: sorted(mine) for user, mine in histories(tab).items()} == {
        user: sorted(mine) for user, mine in histories(ours).items()
    }
    assert tab.catalog.title(tab.catalog.row("1")) == "Toy Story (1995)"
    assert recbole.catalog.title(recbole.catalog.row("1")) == "Toy Story"


def test_shuffled_ties_change_the_order_inside_a_tie_and_nothing_else():
    people, events = np.repeat(np.arange(40), 12), np.tile(np.arange(12), 40)
    table = pl.DataFrame({"user_id": people, "item_id": events + 7 * people % 30, "timestamp": events // 4})
    kept, shuffled, again = (load(table, core=0, shuffle_ties=shuffle) for shuffle in (False, True, True))
    assert list(kept.people) == list(shuffled.people)
    assert kept.catalog.to_json() == shuffled.catalog.to_json()
    assert np.array_equal(kept.sequences.times, shuffled.sequences.times)
    assert not np.array_equal(kept.sequences.items, shuffled.sequences.items)
    assert np.array_equal(again.sequences.items, shuffled.sequences.items)
    tied = (480 // 4, 4)
    in_ties = (np.sort(one.sequences.items.reshape(tied)) for one in (kept, shuffled))
    assert np.array_equal(*in_ties)
    whole = sum(
        np.array_equal(*pair)
        for pair in zip(*(one.sequences.items.reshape(tied) for one in (kept, shuffled)), strict=True)
    )
    assert whole < 20  # a tie of four keeps its order once in 24


LONG = frame([(u, (u + 3 * e) % 11, e) for u in range(6) for e in range(4 + u)])


def test_leaving_last_events_off_keeps_people_and_catalogue_and_the_rest():
    whole, shorter = load(LONG, core=0), load(LONG, core=0, without_last=2)
    assert list(shorter.people) == list(whole.people)
    assert shorter.catalog.to_json() == whole.catalog.to_json()
    assert histories(shorter) == {person: mine[:-2] for person, mine in histories(whole).items()}


def test_what_is_test_without_the_last_event_is_validation_with_it(tmp_path):
    LONG.write_csv(tmp_path / "long.csv")
    config = DataConfig(source=str(tmp_path / "long.csv"), core=0)
    shorter = load_config(config.model_copy(update={"without_last": 1}))
    whole, earlier = (
        split(load_config(config).sequences, "leave-one-out"),
        split(shorter.sequences, "leave-one-out"),
    )
    assert np.array_equal(earlier.test.items, whole.validation.items)
    assert np.array_equal(earlier.train_ends, whole.train_ends - 1)
    assert DataConfig(**shorter.origin) == config.model_copy(update={"without_last": 1})


def test_leaving_too_many_events_off_is_refused_with_a_way_out():
    with pytest.raises(PfsrError, match=r"without the last 3, 1 people .*first is 0\); .* data.core to 5"):
        load(LONG, core=0, without_last=3)


def test_a_data_set_says_in_full_how_it_was_read(tmp_path):
    LONG.write_csv(tmp_path / "long.csv")
    said = DataConfig(source="other", ties="shuffled", without_last=1).model_dump()
    read = load(tmp_path / "long.csv", core=0)
    assert DataConfig(**(said | read.origin)) == DataConfig(source=str(tmp_path / "long.csv"), core=0)


def test_files_are_named_by_their_whole_path_and_named_sources_by_their_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("synthetic", "events.csv", "titles.csv"):
        (tmp_path / name).touch()
    assert whole_paths(DataConfig(source="synthetic", titles="titles.csv")) == {
        "titles": str(tmp_path / "titles.csv")
    }
    assert whole_paths(DataConfig(source="events.csv")) == {"source": str(tmp_path / "events.csv")}
    assert whole_paths(DataConfig(source="none.csv")) == {}
