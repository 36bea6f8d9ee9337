"""Titles of items: csv with item_id and title, MovieLens u.item / movies.dat, RecBole .item."""

from pathlib import Path

import polars as pl

from pfsr.data.formats import is_parquet, read_parquet
from pfsr.data.ids import shown
from pfsr.data.text import open_text
from pfsr.errors import PfsrError


def read_titles(path: Path) -> dict[str, str]:
    """Return the title of each item id (as text); the first of several counts.

    Raises:
        PfsrError: the file is unreadable or has no item_id and title columns.
    """
    if not path.exists():
        raise PfsrError(f"{path}: no such file of titles; mend data.titles, or leave it out")
    if is_parquet(path):
        frame = read_parquet(path)
        chosen = _choose(path, frame.columns)
        table = frame.select(pl.col(chosen).cast(pl.String))
    else:
        text = open_text(path)
        table = text.columns(_choose(path, text.dialect.names))
    table = table.rename(dict(zip(table.columns, ("item_id", "title"), strict=True))).drop_nulls()
    return dict(table.unique("item_id", keep="first", maintain_order=True).iter_rows())


def beside(path: Path) -> Path | None:
    """Return the titles file that lies beside an events file (``x.csv.gz``: ``x.items.csv.gz``), if any."""
    for ending in (".csv.gz", ".csv"):
        if path.name.endswith(ending):
            candidate = path.with_name(path.name.removesuffix(ending) + ".items" + ending)
            return candidate if candidate.is_file() else None
    return None


def _choose(path: Path, names: list[str]) -> list[str]:
    title = next((name for name in names if "title" in name.lower()), None)
    if "item_id" not in names or title is None:
        raise PfsrError(
            f"{path}: titles need columns item_id and title; it has {shown(', '.join(names), 300)}"
        )
    return ["item_id", title]
