import gzip

import polars as pl
import pytest

from pfsr.data import read_events
from pfsr.data.formats import UNIT, detect, is_parquet
from pfsr.errors import PfsrError

HEADER = b"user_id,item_id,timestamp\n"
FOREIGN = {
    "zip.csv": (b"PK\x03\x04 anything", "looks like a zip archive, not csv; unpack it first"),
    "book.csv": (b"PK\x03\x04 [Content_Types].xml", "looks like an Excel workbook, not csv"),
    "page.csv": (b"\n<!DOCTYPE html><html>", "looks like a web page, not csv"),
    "object.tsv": (b'{"user_id": 1}', "looks like JSON, not tsv"),
    "wide.csv": (HEADER.decode().encode("utf-16"), "looks like UTF-16 text, not csv"),
    "pickle.csv": (b"\x80\x04\x95", "pickles are never opened"),
    "packed.csv": (gzip.compress(HEADER), "looks like gzip, not csv; rename it to packed.csv.gz"),
    "cut.csv.gz": (gzip.compress(HEADER + b"a,b,1\n" * 99)[:-9], "damaged or cut-off gzip"),
    "table.csv": (b"PAR1....PAR1", "looks like parquet, not csv; rename it to end in .parquet"),
    "table.parquet": (HEADER, "is not parquet in spite of its name"),
    "hollow.parquet": (b"PAR1....PAR1", "damaged parquet"),
    "empty.csv": (b"", "is empty"),
    "blank.csv": (b"\n \n", "is empty"),
    "hollow.csv.gz": (gzip.compress(b""), "is empty"),
    "five.dat": (b"1::2::3::4::5\n", "5 fields divided by '::'"),
}


@pytest.mark.parametrize("name", FOREIGN)
def test_a_file_that_is_something_else_is_told_in_one_line(tmp_path, name):
    content, expected = FOREIGN[name]
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(PfsrError) as refusal:
        read_events(path)
    message = str(refusal.value)
    assert message.startswith(f"{path}: ")
    assert expected in message
    assert "\n" not in message


def test_missing_file_and_folder_are_told_apart(tmp_path):
    with pytest.raises(PfsrError, match="no such file; named sources are synthetic, ml-100k and ml-1m"):
        read_events(tmp_path / "none.csv")
    with pytest.raises(PfsrError, match="cannot be read"):
        read_events(tmp_path)


def test_text_named_gz_is_read_as_the_text_it_is(tmp_path):
    path = tmp_path / "plain.csv.gz"
    path.write_bytes(HEADER + b"a,b,1\n")
    assert read_events(path).people.to_list() == ["a"]


def test_parquet_is_known_by_its_content(tmp_path):
    path = tmp_path / "t.parquet"
    pl.DataFrame({"user_id": [1]}).write_parquet(path)
    assert is_parquet(path)


@pytest.mark.parametrize(
    ("first", "separator", "names", "header"),
    [
        ("user_id,item_id,timestamp", ",", ["user_id", "item_id", "timestamp"], True),
        ("user_id;item_id;timestamp", ";", ["user_id", "item_id", "timestamp"], True),
        ("user_id\titem_id\ttimestamp", "\t", ["user_id", "item_id", "timestamp"], True),
        ('"user_id","a, b"', ",", ["user_id", "a, b"], True),
        ("user_id:token\titem_id:token\ttimestamp:float", "\t", ["user_id", "item_id", "timestamp"], True),
        ("item_id:token\tmovie_title:token_seq", "\t", ["item_id", "movie_title"], True),
        ("196\t242\t3\t881250949", "\t", ["user_id", "item_id", "rating", "timestamp"], False),
        ("1::1193::5::978300760", UNIT, ["user_id", "item_id", "rating", "timestamp"], False),
        ("1::Toy Story (1995)::Comedy", UNIT, ["item_id", "title", "genres"], False),
        ("1|Toy Story|01-Jan-1995||url", "|", ["item_id", "title", "2", "3", "4"], False),
        ("user_id,item_id,timestamp,2019", ",", ["user_id", "item_id", "timestamp", "2019"], True),
    ],
)
def test_dialect_follows_from_the_first_line(tmp_path, first, separator, names, header):
    dialect = detect(tmp_path, first)
    assert (dialect.separator, dialect.names, dialect.header) == (separator, names, header)


@pytest.mark.parametrize(
    ("first", "expected"),
    [
        ("1,2,3", "looks like an event, not a header"),
        ("alice,film,978300760", "looks like an event, not a header"),
        ("user_id,item_id,user_id", "names the column 'user_id' twice"),
        ("x" * 10_000_000, "not a header"),
    ],
)
def test_a_first_line_that_is_no_header_is_refused(tmp_path, first, expected):
    with pytest.raises(PfsrError, match=expected) as refusal:
        detect(tmp_path, first)
    assert len(str(refusal.value)) < 400
