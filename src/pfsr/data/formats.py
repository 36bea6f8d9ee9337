"""Which format a file has, told from its content as well as its name."""

import csv
import gzip
import re
import zlib
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from pfsr.data.ids import shown
from pfsr.errors import PfsrError

GZIP, PARQUET, ZIP = b"\x1f\x8b", b"PAR1", b"PK\x03\x04"
FOREIGN = (
    (ZIP, "a zip archive", "unpack it first"),
    (b"PK\x05\x06", "an empty zip archive", "give the file itself"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive", "unpack it first"),
    (b"BZh", "a bzip2 file", "unpack it first"),
    (b"\xfd7zXZ", "an xz file", "unpack it first"),
    (b"\x28\xb5\x2f\xfd", "a zstd file", "unpack it first"),
    (b"SQLite format 3", "an SQLite database", "export the table as csv"),
    (b"\xd0\xcf\x11\xe0", "an old Excel workbook", "export it as csv"),
    (b"ARROW1", "an Arrow file", "save it as parquet"),
    (b"\x80\x04", "a Python pickle", "save it as csv or parquet; pickles are never opened"),
    (b"\x80\x05", "a Python pickle", "save it as csv or parquet; pickles are never opened"),
    (b"\xff\xfe", "UTF-16 text", "save it as UTF-8"),
    (b"\xfe\xff", "UTF-16 text", "save it as UTF-8"),
)
EVENT = ["user_id", "item_id", "rating", "timestamp"]
TYPED = re.compile(r"^[^:]+:(token|float)(_seq)?$")
NUMBER = re.compile(r"^\d+(\.\d+)?$")
UNIT = "\x1f"
"""Stands for MovieLens' two-character separator ``::``; it occurs in no text."""


@dataclass(frozen=True)
class Dialect:
    """How the lines of a text file divide into columns.

    Attributes:
        separator: one character.
        names: the columns in order.
        header: whether the first line names them.
        quoted: whether ``"`` quotes a field.
    """

    separator: str
    names: list[str]
    header: bool
    quoted: bool


def read_bytes(path: Path) -> bytes:
    """Return the content of a text file, decompressed if it is gzip.

    Raises:
        PfsrError: unreadable, empty, damaged, or another kind of file than its name says.
    """
    data = _content(path)
    if data.startswith(GZIP):
        if path.suffix != ".gz":
            raise PfsrError(f"{path}: looks like gzip, not {kind_of(path)}; rename it to {path.name}.gz")
        data = _decompressed(path, data)
    refuse_foreign(path, data)
    if not data.strip():
        raise PfsrError(f"{path}: is empty; it needs a header line and one line per event")
    return data


def is_parquet(path: Path) -> bool:
    """Tell whether ``path`` is named and made as parquet.

    Raises:
        PfsrError: unreadable, or name and content disagree.
    """
    named, made = path.suffix == ".parquet", _content(path, 4) == PARQUET
    if made and not named:
        raise PfsrError(f"{path}: looks like parquet, not {kind_of(path)}; rename it to end in .parquet")
    if named and not made:
        raise PfsrError(f"{path}: is not parquet in spite of its name; rename it to what it is")
    return made


def read_parquet(path: Path) -> pl.DataFrame:
    """Return the table in a parquet file.

    Raises:
        PfsrError: it is damaged.
    """
    try:
        return pl.read_parquet(path)
    except (pl.exceptions.PolarsError, OSError) as error:
        raise PfsrError(f"{path}: damaged parquet: {shown(str(error).splitlines()[0], 200)}") from None


def kind_of(path: Path) -> str:
    """Return what the name says the file is, in a word."""
    suffixes = [suffix for suffix in path.suffixes if suffix != ".gz"]
    return suffixes[-1].lstrip(".") if suffixes else "text"


def refuse_foreign(path: Path, data: bytes) -> None:
    """Raise PfsrError when ``data`` is no table of text."""
    if data.startswith(ZIP) and b"[Content_Types].xml" in data[:4096]:
        raise PfsrError(f"{path}: looks like an Excel workbook, not {kind_of(path)}; export it as csv")
    for magic, what, mend in FOREIGN:
        if data.startswith(magic):
            raise PfsrError(f"{path}: looks like {what}, not {kind_of(path)}; {mend}")
    start = data[:256].removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    if start.startswith((b"<!doctype", b"<html", b"<?xml")):
        raise PfsrError(f"{path}: looks like a web page, not {kind_of(path)}; download the file itself")
    if start.startswith((b"{", b"[")):
        raise PfsrError(f"{path}: looks like JSON, not {kind_of(path)}; save it as csv or parquet")


def detect(path: Path, first: str) -> Dialect:
    """Return the dialect of a text file by its first line.

    Raises:
        PfsrError: the line is no header and no known headerless format, or names a column twice.
    """
    fields = first.split("\t")
    if UNIT in first or "::" in first:
        return Dialect(UNIT, _movielens(path, re.split(f"::|{UNIT}", first)), header=False, quoted=False)
    if len(fields) == len(EVENT) and all(NUMBER.match(field) for field in fields):
        return Dialect("\t", EVENT, header=False, quoted=False)
    if (parts := first.split("|"))[0].isdigit() and len(parts) > 4:
        return Dialect("|", ["item_id", "title", *map(str, range(2, len(parts)))], header=False, quoted=False)
    if all(TYPED.match(field) for field in fields):
        names = [field.split(":")[0] for field in fields]
        return Dialect("\t", _distinct(path, names), header=True, quoted=False)
    return _with_header(path, first)


def _with_header(path: Path, first: str) -> Dialect:
    separator = max(",\t;|", key=first.count)
    try:
        names = next(csv.reader([first], delimiter=separator))
    except csv.Error as error:
        raise PfsrError(f"{path}: line 1: not a header: {error}") from None
    if any(NUMBER.match(name) for name in names) and not set(EVENT) & set(names):
        raise PfsrError(
            f"{path}: line 1 {shown(first)} looks like an event, not a header; "
            "add a first line such as user_id,item_id,timestamp"
        )
    return Dialect(separator, _distinct(path, names), header=True, quoted=True)


def _movielens(path: Path, fields: list[str]) -> list[str]:
    names = {4: EVENT, 3: ["item_id", "title", "genres"]}.get(len(fields))
    if names is None:
        raise PfsrError(
            f"{path}: line 1 has {len(fields)} fields divided by '::'; "
            "MovieLens ratings.dat has 4, movies.dat 3"
        )
    return names


def _distinct(path: Path, names: list[str]) -> list[str]:
    twice = next((name for place, name in enumerate(names) if name in names[:place]), None)
    if twice is not None:
        raise PfsrError(f"{path}: line 1 names the column {shown(twice)} twice; rename one of them")
    return names


def _content(path: Path, size: int = -1) -> bytes:
    try:
        with path.open("rb") as stream:
            return stream.read(size)
    except FileNotFoundError:
        raise PfsrError(f"{path}: no such file; named sources are synthetic, ml-100k and ml-1m") from None
    except OSError as error:
        raise PfsrError(f"{path}: cannot be read: {error.strerror or error}") from None


def _decompressed(path: Path, data: bytes) -> bytes:
    try:
        return gzip.decompress(data)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise PfsrError(f"{path}: damaged or cut-off gzip ({error}); download it again") from None
