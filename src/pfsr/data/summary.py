"""What a data set looks like at a glance, before anything is trained on it."""

import datetime as dt
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from pfsr.data.dataset import Dataset
from pfsr.data.interactions import Interactions, from_frame

QUANTILES = {"min": 0.0, "10 %": 0.1, "25 %": 0.25, "median": 0.5, "75 %": 0.75, "90 %": 0.9, "max": 1.0}
YEAR_1980, YEAR_2100 = 315_532_800.0, 4_102_444_800.0
BAR = 40
"""Characters of the longest bar."""


@dataclass(frozen=True)
class Summary:
    """Numbers that describe a set of histories.

    Attributes:
        people: people with at least one event.
        items: items with at least one event.
        events: all events, duplicates included.
        lengths: events per person at ``QUANTILES``: min, 10, 25, 50, 75, 90 %, max.
        first: the earliest time, as the source gives it.
        last: the latest.
        ties: share of events at the same time as the person's previous event.
        repeats: share of events whose item the person had before.
        histogram: (shortest, longest, people) of each class of lengths; the classes double in width.
    """

    people: int
    items: int
    events: int
    lengths: tuple[float, ...]
    first: float
    last: float
    ties: float
    repeats: float
    histogram: tuple[tuple[int, int, int], ...]

    @property
    def density(self) -> float:
        """Events per (person, item) pair; above 1 only where repeats abound."""
        return self.events / (self.people * self.items)

    def __rich__(self) -> RenderableType:
        return Group(self._numbers(), Text(), Text("people by number of events"), self._bars())

    def _numbers(self) -> Table:
        table = Table.grid(padding=(0, 2))
        rows = {
            "people": f"{self.people:,}",
            "items": f"{self.items:,}",
            "events": f"{self.events:,}",
            "events per person": ", ".join(
                f"{name} {value:g}" for name, value in zip(QUANTILES, self.lengths, strict=True)
            ),
            "time": f"{moment(self.first)} to {moment(self.last)}",
            "ties in time": f"{self.ties:.1%}",
            "repeats": f"{self.repeats:.1%}",
            "density": f"{self.density:.4%}",
        }
        for name, value in rows.items():
            table.add_row(name, value)
        return table

    def _bars(self) -> Table:
        table = Table.grid(padding=(0, 2))
        most = max(people for _, _, people in self.histogram)
        for shortest, longest, people in self.histogram:
            label = f"{shortest}-{longest}"
            table.add_row(Text(label, justify="right"), "█" * round(BAR * people / most), f"{people:,}")
        return table


def describe(source: Dataset | Interactions | Any) -> Summary:
    """Summarise a data set, events that were read, or a pandas, polars or Arrow table.

    Raises:
        PfsrError: a table without the three columns, or with an id or a time that is not valid.
    """
    users, items, times = _events(source)
    order = np.lexsort((times, users))
    users, items, times = users[order], items[order], times[order]
    lengths = np.bincount(users)
    lengths = lengths[lengths > 0]
    same_person = users[1:] == users[:-1]
    return Summary(
        people=len(lengths),
        items=int((np.bincount(items) > 0).sum()),
        events=len(users),
        lengths=tuple(float(value) for value in np.quantile(lengths, list(QUANTILES.values()))),
        first=float(times.min()),
        last=float(times.max()),
        ties=float((same_person & (times[1:] == times[:-1])).sum() / len(users)),
        repeats=1 - _distinct_pairs(users, items) / len(users),
        histogram=_histogram(lengths),
    )


def moment(time: float) -> str:
    """Return a date where ``time`` looks like seconds or milliseconds since 1970, else the number."""
    for unit in (1.0, 1e3):
        if YEAR_1980 <= time / unit < YEAR_2100:
            return dt.datetime.fromtimestamp(time / unit, dt.UTC).strftime("%Y-%m-%d")
    return f"{time:g}"


def _events(source: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    if isinstance(source, Dataset):
        sequences = source.sequences
        users = np.repeat(np.arange(len(sequences)), sequences.lengths)
        return users, sequences.items.astype(np.int64), sequences.times
    events = source if isinstance(source, Interactions) else from_frame(source)
    return events.users, events.items, events.times


def _distinct_pairs(users: np.ndarray, items: np.ndarray) -> int:
    return pl.Series(users * (int(items.max()) + 1) + items).n_unique()


def _histogram(lengths: np.ndarray) -> tuple[tuple[int, int, int], ...]:
    """Return classes 1, 2-3, 4-7, ...: from the shortest history's class to the longest's."""
    classes = np.frexp(lengths)[1] - 1
    counts = np.bincount(classes)
    return tuple(
        (2**power, 2 ** (power + 1) - 1, int(counts[power]))
        for power in range(int(classes.min()), len(counts))
    )
