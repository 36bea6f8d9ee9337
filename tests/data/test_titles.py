import gzip

import polars as pl
import pytest

from pfsr.data.titles import beside, read_titles
from pfsr.errors import PfsrError

EXPECTED = {"1": "Café, the Film", "2": "Two"}
VARIANTS = {
    "t.csv": 'item_id,genre,title\n1,x,"Café, the Film"\n2,y,Two\n1,z,Again\n'.encode(),
    "t.csv.gz": gzip.compress('item_id,title\n1,"Café, the Film"\n2,Two\n'.encode()),
    "u.item": "1|Café, the Film|01-Jan|| |0\n2|Two|01-Jan|||1\n".encode("latin-1"),
    "movies.dat": "1::Café, the Film::Drama\n2::Two::Comedy|War\n".encode("latin-1"),
    "m.item": "item_id:token\tmovie_title:token_seq\n1\tCafé, the Film\n2\tTwo\n".encode(),
}


@pytest.mark.parametrize("name", VARIANTS)
def test_every_format_gives_the_same_titles(tmp_path, name):
    path = tmp_path / name
    path.write_bytes(VARIANTS[name])
    assert read_titles(path) == EXPECTED


def test_parquet_titles_are_keyed_by_text(tmp_path):
    path = tmp_path / "t.parquet"
    pl.DataFrame({"item_id": [1, 2], "title": list(EXPECTED.values())}).write_parquet(path)
    assert read_titles(path) == EXPECTED


def test_items_without_a_title_are_left_out(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("item_id,title\n1,\n2,Two\n")
    assert read_titles(path) == {"2": "Two"}


def test_missing_columns_are_told(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("id,name\n1,One\n")
    with pytest.raises(PfsrError, match=r"item_id and title; it has 'id, name'"):
        read_titles(path)


@pytest.mark.parametrize(("name", "other"), [("a.b.csv.gz", "a.b.items.csv.gz"), ("a.csv", "a.items.csv")])
def test_titles_beside_the_events_are_found(tmp_path, name, other):
    assert beside(tmp_path / name) is None
    (tmp_path / other).touch()
    assert beside(tmp_path / name) == tmp_path / other
    assert beside(tmp_path / "a.parquet") is None


def test_damaged_or_missing_titles_are_one_line(tmp_path):
    path = tmp_path / "t.parquet"
    path.write_bytes(b"PAR1garbagegarbagePAR1")
    with pytest.raises(PfsrError, match="damaged parquet") as told:
        read_titles(path)
    assert "\n" not in str(told.value)
    with pytest.raises(PfsrError, match=r"no such file of titles; mend data\.titles"):
        read_titles(tmp_path / "none.csv")
