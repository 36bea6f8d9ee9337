"""Any table of events -> checked columns: who (a code), what (a code), when (a number)."""

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import narwhals as nw
import numpy as np
import polars as pl

from pfsr.data.ids import key, plain, shown
from pfsr.errors import PfsrError

COLUMNS = ("user_id", "item_id", "timestamp")
OPTIONS = {"user_id": "user_column", "item_id": "item_column", "timestamp": "time_column"}
LATEST = 1e17
"""Times from here on are refused: the source counts nanoseconds, or is damaged."""

Locate = Callable[[int], str]
"""Says in words where a row of the table stands in its source."""


@dataclass(frozen=True)
class Interactions:
    """Events in the order of their source; ids are coded by first appearance.

    Attributes:
        users: int64 [events], positions in ``people``.
        items: int64 [events], positions in ``item_ids``.
        times: float64 [events]; dates and moments become seconds since 1970.
        people: distinct user ids: a polars Series of text or integers, or a tuple of anything else.
        item_ids: distinct item ids, likewise.
    """

    users: np.ndarray
    items: np.ndarray
    times: np.ndarray
    people: pl.Series | Sequence[Hashable]
    item_ids: pl.Series | Sequence[Hashable]


def from_frame(frame: Any, columns: dict[str, str] | None = None, name: str = "table") -> Interactions:
    """Check a pandas, polars or Arrow table.

    Args:
        frame: any table narwhals knows, with the three columns.
        columns: the table's own names for user_id, item_id and timestamp, where they differ.
        name: names the table in messages.

    Raises:
        PfsrError: not a table, a column is missing, the table is empty, or an id or a time is not valid.
    """
    table = _eager(frame, name)
    names = column_names(columns)
    require_columns(list(table.columns), names, name)
    selected = {standard: _series(table[own]) for standard, own in names.items()}
    return check(selected, name, lambda row: f"row {row} (the first is 0)")


def column_names(columns: dict[str, str] | None) -> dict[str, str]:
    """Return the source's name of every standard column.

    Raises:
        PfsrError: ``columns`` renames something else.
    """
    for standard in columns or {}:
        if standard not in COLUMNS:
            raise PfsrError(f"columns: {standard!r} is unknown; the keys are {', '.join(COLUMNS)}")
    return {standard: (columns or {}).get(standard, standard) for standard in COLUMNS}


def require_columns(present: list[str], names: dict[str, str], where: str) -> None:
    """Raise PfsrError when a wanted column is missing, naming those that exist."""
    for standard, own in names.items():
        if own not in present:
            raise PfsrError(
                f"{where}: no column {own!r}; it has {shown(', '.join(map(str, present)), 300)}; "
                f"name yours with --data.{OPTIONS[standard]} (Python: columns={{{standard!r}: ...}})"
            )


def check(selected: dict[str, Any], name: str, locate: Locate) -> Interactions:
    """Code the ids and check the times of three columns (polars Series, or lists of ids).

    Raises:
        PfsrError: no events, or an id or a time that is not valid.
    """
    if not len(selected["timestamp"]):
        raise PfsrError(f"{name}: no events; it needs rows of user_id, item_id and timestamp")
    users, people = _coded(selected["user_id"], f"{name}: user_id", locate)
    items, item_ids = _coded(selected["item_id"], f"{name}: item_id", locate)
    times = _times(selected["timestamp"], f"{name}: timestamp", locate)
    return Interactions(users, items, times, people, item_ids)


def _eager(frame: Any, name: str) -> nw.DataFrame[Any]:
    if isinstance(frame, pl.LazyFrame):
        frame = frame.collect()
    try:
        return nw.from_native(frame, eager_only=True)
    except TypeError:
        raise PfsrError(
            f"{name}: {type(frame).__name__} is neither a file nor a table; "
            "give a path, a named source, or a pandas, polars or Arrow table"
        ) from None


def _series(column: nw.Series[Any]) -> pl.Series | list[Any]:
    """Return a polars column, without needing pyarrow for pandas; ids polars has no type for as a list."""
    if isinstance(native := column.to_native(), pl.Series):
        return native.to_list() if native.dtype == pl.Object else _uncategorical(native)
    if column.dtype.is_numeric() and not column.is_null().any():
        return pl.Series(column.to_numpy())
    values = column.to_list()
    if column.dtype.is_temporal():
        return pl.Series(values)
    return _text(values) if all(type(value) is str for value in values) else values


def _text(values: list[str]) -> pl.Series | list[Any]:
    try:
        return pl.Series(values, dtype=pl.String)
    except UnicodeEncodeError:  # lone surrogates: legal in Python, not in polars
        return values


def _uncategorical(series: pl.Series) -> pl.Series:
    return series.cast(pl.String) if series.dtype in (pl.Categorical, pl.Enum) else series


def _coded(
    column: pl.Series | list[Any], what: str, locate: Locate
) -> tuple[np.ndarray, pl.Series | tuple[Hashable, ...]]:
    if isinstance(column, pl.Series) and (column.dtype == pl.String or column.dtype.is_integer()):
        return _coded_series(column, what, locate)
    return _coded_objects(list(column), what, locate)


def _coded_series(column: pl.Series, what: str, locate: Locate) -> tuple[np.ndarray, pl.Series]:
    blank = column.is_null() if column.dtype != pl.String else column.fill_null("") == ""
    _refuse(blank, lambda row: f"{what} is empty (fill it in or drop the event) on {locate(row)}")
    distinct = column.unique(maintain_order=True)
    codes = column.replace_strict(distinct, np.arange(len(distinct)), return_dtype=pl.Int64)
    return codes.to_numpy(), distinct


def _coded_objects(values: list[Any], what: str, locate: Locate) -> tuple[np.ndarray, tuple[Hashable, ...]]:
    codes: dict[Hashable, int] = {}
    ids: list[Hashable] = []
    coded = np.empty(len(values), np.int64)
    for row, value in enumerate(values):
        try:
            known = codes.setdefault(key(identity := plain(value)), len(ids))
        except PfsrError as error:
            raise PfsrError(f"{what} on {locate(row)}: {error}") from None
        if known == len(ids):
            ids.append(identity)
        coded[row] = known
    return coded, tuple(ids)


def _times(column: pl.Series | list[Any], what: str, locate: Locate) -> np.ndarray:
    written = column if isinstance(column, pl.Series) else pl.Series([str(value) for value in column])
    times = _as_number(written)
    wrong = ~times.is_finite().fill_null(value=False) | (times < 0).fill_null(value=True) | (times >= LATEST)
    _refuse(wrong, lambda row: f"{what} {_why(written[row], times[row])} on {locate(row)}")
    return times.to_numpy()


def _as_number(written: pl.Series) -> pl.Series:
    if written.dtype.is_temporal() and written.dtype not in (pl.Time, pl.Duration):
        return written.cast(pl.Datetime("us")).dt.epoch("us").cast(pl.Float64) / 1e6
    if written.dtype == pl.String:
        written = written.str.strip_chars()
    return written.cast(pl.Float64, strict=False)


def _why(written: Any, time: float | None) -> str:
    if written is None:
        return "is empty (fill it in or drop the event)"
    if time is None:
        return (
            f"{shown(written)} is not a number (give seconds since 1970, or any number that grows with time)"
        )
    if time < 0:
        return f"{shown(written)} is negative (count from an earlier moment)"
    return f"{shown(written)} is not a plausible time (give seconds or milliseconds since 1970)"


def _refuse(wrong: pl.Series, message: Callable[[int], str]) -> None:
    first = wrong.arg_max() if wrong.any() else None
    if first is not None:
        raise PfsrError(message(first))
