import csv
import gzip
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pfsr.data import read_events
from pfsr.data.text import open_text
from pfsr.errors import PfsrError

HEADER = b"user_id,item_id,timestamp\n"
FAULTS = {
    b"a,b,1\n\na,c,noon\n": "timestamp 'noon' is not a number",
    b"a,b,1\n\na,b,NaN\n": "timestamp 'NaN' is not a plausible time",
    b"a,b,1\n\na,b,-1\n": "timestamp '-1' is negative",
    b"a,b,1\n\na,b,1e17\n": "timestamp '1e17' is not a plausible time",
    b"a,b,1\n\na,b,1e999\n": "timestamp '1e999' is not a plausible time",
    b"a,b,1\n\n,b,2\n": "user_id is empty",
    b'a,b,1\n\na,"",2\n': "item_id is empty",
    b"a,b,1\n\na,b\n": "(2 fields, expected 3)",
    b"a,b,1\n\na,b,2,3\n": "(4 fields, expected 3)",
    b'a,"b\n",1\na,c\n': "(2 fields, expected 3)",
    b"a,b,1\n\na,\0,2\n": "holds a NUL byte",
    b"a,b,1\n\na,\xe9,2\n": "is not UTF-8",
    b'a,b,1\n\na,5" disc,2\n': "a quotation mark stands alone",
    b'a,b,1\n\na,5" disc,2\na,6" disc,2\n': "a quotation mark stands alone",
}


def write(folder, body, header=HEADER):
    path = folder / "events.csv"
    path.write_bytes(header + body)
    return path


@pytest.mark.parametrize("body", FAULTS)
def test_every_fault_is_told_on_one_line_with_its_line_number(tmp_path, body):
    path = write(tmp_path, body)
    with pytest.raises(PfsrError) as refusal:
        read_events(path)
    message = str(refusal.value)
    assert message.startswith(f"{path}: ")
    assert "line 4" in message
    assert FAULTS[body] in message
    assert "\n" not in message


def test_misplaced_quotes_are_refused_in_one_line(tmp_path):
    with pytest.raises(PfsrError, match="quotation marks") as refusal:
        read_events(write(tmp_path, b'"a"x,b,1\n'))
    assert "\n" not in str(refusal.value)


def test_header_alone_holds_no_events(tmp_path):
    with pytest.raises(PfsrError, match="no events"):
        read_events(write(tmp_path, b""))


def test_missing_column_lists_those_that_exist_and_the_option(tmp_path):
    path = write(tmp_path, b"1,2,3\n", header=b"userId,item_id,timestamp\n")
    with pytest.raises(PfsrError, match=r"no column 'user_id'; it has 'userId, .*--data\.user_column"):
        read_events(path)
    assert read_events(path, {"user_id": "userId"}).people.to_list() == ["1"]


def test_ids_are_text_exactly_as_written(tmp_path):
    ids = ["1", "01", "1.0", str(2**64), " x", "😀", "nan", "null", "'q'"]
    path = write(tmp_path, "".join(f"{name},i,1\n" for name in ids).encode())
    assert read_events(path).people.to_list() == ids


@pytest.mark.parametrize(
    "content",
    [
        b"\xef\xbb\xbf" + HEADER + b"a,b,1\na,c,2\n",
        (HEADER + b"a,b,1\n\na,c,2").replace(b"\n", b"\r\n"),
        (HEADER + b"a,b,1\na,c,2\n").replace(b"\n", b"\r"),
        b'"user_id","item_id","timestamp"\n"a","b",1\n"a","c","2"\n',
        b"timestamp;x;item_id;user_id\n1;?;b;a\n2;;c;a\n",
        HEADER + b"a,b, 1 \na,c,2\n\n\n",
        gzip.compress(HEADER + b"a,b,1\na,c,2\n"),
    ],
    ids=["bom", "crlf", "cr", "quoted", "semicolon", "blanks", "gzip"],
)
def test_harmless_variants_read_the_same(tmp_path, content):
    path = tmp_path / "events.csv.gz"
    path.write_bytes(content)
    events = read_events(path)
    assert events.people.to_list() == ["a"]
    assert events.item_ids.to_list() == ["b", "c"]
    assert events.times.tolist() == [1.0, 2.0]


def test_ten_megabyte_field_is_read_and_a_fault_behind_it_told(tmp_path):
    long = b"x" * 10_000_000
    events = read_events(write(tmp_path, b"a," + long + b",1\n"))
    assert len(events.item_ids[0]) == 10_000_000
    with pytest.raises(PfsrError, match=r"'zz' is not a number .* on event 2$"):
        read_events(write(tmp_path, b"a," + long + b",1\na,b,zz\n"))


CELLS = st.text(st.characters(codec="utf-8", exclude_characters="\0\r"), min_size=1)


@given(st.lists(st.tuples(CELLS, CELLS), min_size=1, max_size=20))
def test_columns_agree_with_the_csv_module(tmp_path_factory, rows):
    path = tmp_path_factory.mktemp("csv") / "t.csv"
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerows([("one", "two"), *rows])
    path.write_text(buffer.getvalue(), encoding="utf-8", newline="")
    assert open_text(path).columns(["two", "one"]).rows() == [(two, one) for one, two in rows]


@given(st.binary(max_size=300))
def test_any_bytes_are_events_or_one_line_of_refusal(tmp_path_factory, content):
    path = tmp_path_factory.mktemp("bytes") / "t.csv"
    path.write_bytes(HEADER + content)
    try:
        assert len(read_events(path).times) > 0
    except PfsrError as refusal:
        assert "\n" not in str(refusal)


def test_movielens_may_be_latin_1(tmp_path):
    path = tmp_path / "movies.dat"
    path.write_bytes("1::Les Misérables::Drama\n".encode("latin-1"))
    assert open_text(path).columns(["title"]).rows() == [("Les Misérables",)]
