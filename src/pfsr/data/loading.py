"""From a file, a named source or a table to a data set: read, filter, order."""

from collections.abc import Hashable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from pfsr.config import DataConfig
from pfsr.data.catalog import Catalog
from pfsr.data.dataset import Dataset, People
from pfsr.data.download import Archive
from pfsr.data.formats import is_parquet, read_parquet
from pfsr.data.ids import shown
from pfsr.data.interactions import (
    Interactions,
    check,
    column_names,
    from_frame,
    require_columns,
)
from pfsr.data.kcore import compact, k_core
from pfsr.data.sequences import Sequences
from pfsr.data.sources import NAMED, SOURCES, SYNTHETIC, fetch
from pfsr.data.synthetic import world
from pfsr.data.text import open_text
from pfsr.data.titles import beside, read_titles
from pfsr.errors import PfsrError


def load(
    source: Any,
    *,
    titles: str | Path | None = None,
    columns: dict[str, str] | None = None,
    core: int = 5,
    shuffle_ties: bool = False,
    without_last: int = 0,
) -> Dataset:
    """Read everybody's history.

    Args:
        source: a file (csv or tsv, also .gz; parquet; MovieLens u.data or ratings.dat; RecBole .inter),
            a named source (synthetic, ml-100k, ml-1m), or a pandas, polars or Arrow table.
        titles: a file with item_id and title; by default the one beside ``source``, if any.
        columns: the source's own names for user_id, item_id and timestamp, where they differ.
        core: people and items with fewer events are dropped, until none is left to drop (0: keep all).
        shuffle_ties: put a person's events at one and the same time in random order (always the same one)
            instead of the source's.
        without_last: leave everybody's last events off, this many, after the filter.

    Raises:
        PfsrError: the source cannot be read or holds something that is no event; nothing is left.
    """
    events = read_events(source, columns)
    made = build(_shuffled(events) if shuffle_ties else events, _name(source), core, _titles(source, titles))
    origin = _origin(source, titles, columns, core)
    if origin:  # said in full: what is said here goes before other settings
        origin |= {"ties": "shuffled" if shuffle_ties else "kept", "without_last": without_last}
    whole = replace(made, origin=origin)
    return _trimmed(whole, without_last) if without_last else whole


def load_config(config: DataConfig) -> Dataset:
    """Read the data set that the ``data`` section names; raises like :func:`load`."""
    columns = {"user_id": config.user_column, "item_id": config.item_column, "timestamp": config.time_column}
    return load(
        config.source,
        titles=config.titles,
        columns=columns,
        core=config.core,
        shuffle_ties=config.ties == "shuffled",
        without_last=config.without_last,
    )


def whole_paths(config: DataConfig) -> dict[str, str]:
    """Return the settings that name files, by whole paths that are found from any working directory."""
    source = None if config.source in NAMED else config.source
    named = {"source": source, "titles": config.titles}
    return {key: str(Path(name).resolve()) for key, name in named.items() if name and Path(name).is_file()}


def read_events(source: Any, columns: dict[str, str] | None = None) -> Interactions:
    """Read the events of what :func:`load` reads, unfiltered; ids in text files are text.

    Raises:
        PfsrError: the source cannot be read or holds something that is no event.
    """
    if not isinstance(source, str | Path):
        return from_frame(source, columns)
    if source == SYNTHETIC:
        return world().events
    archive = _archive(source)
    path = Path(source) if archive is None else fetch(archive).events
    if is_parquet(path):
        return from_frame(read_parquet(path), columns, str(path))
    return _from_text(path, columns)


def synthetic_world(people: int = 600, items: int = 300, seed: int = 0) -> Dataset:
    """Return the built-in demo world, made up throughout (see :mod:`pfsr.data.synthetic`).

    Raises:
        PfsrError: it is too small to hold two events a person.
    """
    made = world(people, items, seed)
    return build(made.events, SYNTHETIC, 0, made.titles)


def build(events: Interactions, name: str, core: int, titles: dict[str, str] | None = None) -> Dataset:
    """Filter ``events``, order them by time within each person and number people and items.

    Raises:
        PfsrError: the filter leaves nothing, or somebody has a single event.
    """
    kept = k_core(events.users, events.items, core)
    if not len(kept):
        raise PfsrError(
            f"{name}: nobody has {core} events left after the {core}-core filter; lower data.core"
        )
    present_people, users = compact(events.users[kept])
    present_items, items = compact(events.items[kept])
    sequences = _ordered(users, items + 1, events.times[kept])
    people = _taken(events.people, present_people)
    _refuse_single_events(sequences, people, name)
    return Dataset(name, people, _catalog(_taken(events.item_ids, present_items), titles), sequences)


def _trimmed(whole: Dataset, count: int) -> Dataset:
    """Leave everybody's last ``count`` events off; the catalogue stays whole."""
    sequences = whole.sequences.without_last(count)
    short = np.flatnonzero(sequences.lengths < 2)
    if len(short):
        raise PfsrError(
            f"{whole.name}: without the last {count}, {len(short)} people have fewer than two events (the "
            f"first is {shown(whole.people[int(short[0])])}); lower data.without_last or set data.core to "
            f"{count + 2}"
        )
    return replace(whole, sequences=sequences)


def _shuffled(events: Interactions) -> Interactions:
    """Put events in another order; the sort by time that follows is stable, so only ties keep it."""
    order = np.random.default_rng(0).permutation(len(events.users))
    return replace(events, users=events.users[order], items=events.items[order], times=events.times[order])


def _from_text(path: Path, columns: dict[str, str] | None) -> Interactions:
    table = open_text(path)
    names = column_names(columns)
    require_columns(table.dialect.names, names, str(path))
    frame = table.columns(list(names.values()))
    selected = {standard: frame[own] for standard, own in names.items()}
    return check(selected, str(path), table.locate)


def _origin(
    source: Any, titles: str | Path | None, columns: dict[str, str] | None, core: int
) -> dict[str, Any]:
    if not isinstance(source, str | Path):
        return {}
    names = column_names(columns)
    settings = {
        "user_column": names["user_id"],
        "item_column": names["item_id"],
        "time_column": names["timestamp"],
    }
    return settings | {"source": str(source), "titles": str(titles) if titles else None, "core": core}


def _titles(source: Any, titles: str | Path | None) -> dict[str, str] | None:
    if titles is not None:
        return read_titles(Path(titles))
    if not isinstance(source, str | Path):
        return None
    if source == SYNTHETIC:
        return world().titles
    archive = _archive(source)
    found = beside(Path(source)) if archive is None else fetch(archive).titles
    return None if found is None else read_titles(found)


def _archive(source: str | Path) -> Archive | None:
    return SOURCES.get(source) if isinstance(source, str) else None


def _name(source: Any) -> str:
    if not isinstance(source, str | Path):
        return "table"
    return source if isinstance(source, str) and source in NAMED else _stem(Path(source))


def _ordered(users: np.ndarray, rows: np.ndarray, times: np.ndarray) -> Sequences:
    order = np.lexsort((times, users))
    offsets = np.concatenate([[0], np.cumsum(np.bincount(users))]).astype(np.int64)
    return Sequences(offsets, rows[order].astype(np.int32), times[order])


def _taken(ids: People, positions: np.ndarray) -> People:
    if isinstance(ids, pl.Series):
        return ids.gather(positions)
    return tuple(ids[position] for position in positions)


def _refuse_single_events(sequences: Sequences, people: People, name: str) -> None:
    single = np.flatnonzero(sequences.lengths < 2)
    if len(single):
        first = shown(people[int(single[0])])
        raise PfsrError(
            f"{name}: {len(single)} people have a single event (the first is {first}); "
            "set data.core to 2 or more"
        )


def _catalog(ids: People, titles: dict[str, str] | None) -> Catalog:
    known: tuple[Hashable, ...] = tuple(ids)
    return Catalog(known, None if titles is None else [titles.get(str(item), str(item)) for item in known])


def _stem(path: Path) -> str:
    return path.name.removesuffix(".gz").rpartition(".")[0] or path.name
