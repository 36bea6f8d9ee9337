"""Text tables, exactly as written: every field is text, and every fault has a line number."""

import csv
import io
import itertools
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from pfsr.data.formats import UNIT, Dialect, detect, read_bytes
from pfsr.data.ids import shown
from pfsr.errors import PfsrError

BOM = b"\xef\xbb\xbf"


@dataclass(frozen=True)
class TextTable:
    """A text file taken apart.

    Attributes:
        path: where it was read from.
        dialect: how its lines divide into columns.
        body: its content below the header, UTF-8.
    """

    path: Path
    dialect: Dialect
    body: bytes

    def columns(self, names: list[str]) -> pl.DataFrame:
        """Return the columns ``names`` as text, one row per line that is not blank.

        Raises:
            PfsrError: lines do not divide into the columns.
        """
        self._refuse_open_quote()
        try:
            return pl.read_csv(
                self._without_blank_lines(),
                has_header=False,
                separator=self.dialect.separator,
                quote_char='"' if self.dialect.quoted else None,
                schema=dict.fromkeys(self.dialect.names, pl.String),
                columns=[self.dialect.names.index(name) for name in names],
            ).select(names)
        except pl.exceptions.PolarsError as error:
            raise PfsrError(
                self._fault() or f"{self.path}: misplaced quotation marks: {shown(str(error), 200)}"
            ) from None

    def locate(self, row: int) -> str:
        """Say on which line ``row`` of :meth:`columns` stands."""
        try:
            line, fields = next(itertools.islice(self._lines(), row, None))
        except (csv.Error, StopIteration):  # the csv module refuses fields of 128 KiB, polars does not
            return f"event {row + 1}"
        return f"line {line}{self._mismatch(fields)}"

    def _without_blank_lines(self) -> bytes:
        body = self.body.lstrip(b"\n")
        if b"\n\n" not in body:
            return body
        blank = rb'("[^"]*")|\n{2,}' if self.dialect.quoted else rb"()\n{2,}"
        return re.sub(blank, lambda match: match[1] or b"\n", body)

    def _lines(self) -> Iterator[tuple[int, list[str]]]:
        """Yield the last line number and the fields of each row: slow, for messages only."""
        reader = csv.reader(
            io.StringIO(self.body.decode(), newline=""),
            delimiter=self.dialect.separator,
            quoting=csv.QUOTE_MINIMAL if self.dialect.quoted else csv.QUOTE_NONE,
        )
        return ((reader.line_num + self.dialect.header, fields) for fields in reader if fields)

    def _mismatch(self, fields: list[str]) -> str:
        width = len(self.dialect.names)
        return "" if len(fields) == width else f" ({len(fields)} fields, expected {width})"

    def _fault(self) -> str | None:
        line = int(self.dialect.header)
        try:
            for line, fields in self._lines():
                if mismatch := self._mismatch(fields):
                    return f"{self.path}: line {line} does not fit the header{mismatch}"
        except csv.Error as error:
            return f"{self.path}: after line {line}: {error}"
        return self._stray_quote()

    def _refuse_open_quote(self) -> None:
        if self.dialect.quoted and self.body.count(b'"') % 2:
            raise PfsrError(self._stray_quote() or f"{self.path}: a quotation mark is never closed")

    def _stray_quote(self) -> str | None:
        for line, content in enumerate(self.body.split(b"\n"), start=1 + self.dialect.header):
            if self.dialect.quoted and content.count(b'"') % 2:
                return (
                    f"{self.path}: line {line}: a quotation mark stands alone; double it and quote the field"
                )
        return None


def open_text(path: Path) -> TextTable:
    """Read and decode a text file and find out its dialect.

    Raises:
        PfsrError: unreadable, empty, not text, or not a format that is known here.
    """
    data = read_bytes(path).removeprefix(BOM).replace(b"\r\n", b"\n")
    if b"\n" not in data:
        data = data.replace(b"\r", b"\n")
    _refuse_nul(path, data)
    first = data.partition(b"\n")[0].decode(errors="replace")
    dialect = detect(path, first)
    data = _utf8(path, data, dialect)
    if dialect.separator == UNIT:
        data = data.replace(b"::", UNIT.encode())
    return TextTable(path, dialect, data.partition(b"\n")[2] if dialect.header else data)


def _utf8(path: Path, data: bytes, dialect: Dialect) -> bytes:
    """Return ``data`` as UTF-8; MovieLens' headerless files may be latin-1."""
    try:
        data.decode()
    except UnicodeDecodeError as error:
        if not dialect.header:
            return data.decode("latin-1").encode()
        line = data.count(b"\n", 0, error.start) + 1
        raise PfsrError(
            f"{path}: line {line} is not UTF-8 (byte {error.start}: 0x{data[error.start]:02x}); "
            "save it as UTF-8"
        ) from None
    return data


def _refuse_nul(path: Path, data: bytes) -> None:
    at = data.find(b"\0")
    if at >= 0:
        line = data.count(b"\n", 0, at) + 1
        raise PfsrError(f"{path}: line {line} holds a NUL byte (byte {at}); it is not text, or is damaged")
