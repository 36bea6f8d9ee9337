"""The built-in demo world: made-up people watching made-up films. No real data.

What can be learned in it, from easy to hard:

- popularity: in every genre a few series are watched by many;
- order: people go on with a series they began, often two of them in turn, so that the next item follows
  the event before last as often as the last one;
- taste: each person has a few lasting genres and a lasting style that decides what appeals within a genre;
  the last few events show little of either.

Hit rates at 10 (last event, shelf of 300): popularity .11, first-order Markov .22, rules that know the
series .49, and the genre of the last event .56, and the lasting taste and style .60.
"""

from dataclasses import dataclass, field

import numpy as np
import polars as pl

from pfsr.data.interactions import Interactions
from pfsr.data.titling import GENRES, series_titles

EPOCH = 1_704_067_200.0
"""2024-01-01, in seconds since 1970: the synthetic year begins."""
DAY = 86_400.0
SHORTEST, LONGEST = 5, 120
STYLES = 4
SWITCH = 0.8
"""Chance that a discovery is in a genre freshly drawn from the lasting taste, not that of the last one."""


@dataclass(frozen=True)
class World:
    """A generated world before any filter.

    Attributes:
        events: who watched what when.
        titles: the title of every item id.
    """

    events: Interactions
    titles: dict[str, str]


@dataclass(frozen=True)
class Shelf:
    """The items of a world, each with its place in a series.

    Attributes:
        genre: int64 [items].
        weight: float64 [styles, items], how well an item that starts a series, or stands alone, draws a
            person of each style; sequels draw little on their own.
        sequel: int64 [items], the next part of the series, or -1.
        titles: one per item.
    """

    genre: np.ndarray
    weight: np.ndarray
    sequel: np.ndarray
    titles: list[str]


@dataclass
class Viewer:
    """One person on the way through the shelf.

    Attributes:
        taste: float64 [genres], lasting; sums to 1.
        style: which items within a genre appeal.
        loyalty: chance to go on with a series that was begun.
        genre: the genre of the latest discovery.
        begun: next parts of series that were begun, longest waiting first.
    """

    taste: np.ndarray
    style: int
    loyalty: float
    genre: int
    begun: list[int] = field(default_factory=list)


def world(people: int = 600, items: int = 300, seed: int = 0) -> World:
    """Return the events of ``people`` made-up viewers of ``items`` made-up films, from 2024.

    Histories have 5 to 120 events (fewer where the shelf is smaller); nobody watches an item twice.
    """
    rng = np.random.default_rng(seed)
    shelf = _shelf(items, rng)
    histories = [_history(shelf, rng) for _ in range(people)]
    lengths = [len(history) for history in histories]
    users = np.repeat(np.arange(people), lengths)
    times = np.concatenate([_times(length, rng) for length in lengths])
    names = pl.Series([f"item-{row:04d}" for row in range(1, items + 1)])
    viewers = pl.Series([f"person-{row:04d}" for row in range(1, people + 1)])
    events = Interactions(users, np.concatenate(histories), times, viewers, names)
    return World(events, dict(zip(names, shelf.titles, strict=True)))


def _shelf(items: int, rng: np.random.Generator) -> Shelf:
    genre, opening, sequel = (np.empty(items, np.int64) for _ in range(3))
    titles: list[str] = []
    while (start := len(titles)) < items:
        parts = min(int(rng.integers(1, 6)), items - start)
        number = start + 1
        genre[start : start + parts] = kind = int(rng.integers(len(GENRES)))
        opening[start : start + parts] = np.arange(parts) == 0
        sequel[start : start + parts] = [*range(start + 1, start + parts), -1]
        titles += series_titles(kind, number, parts, rng)
    fame = rng.pareto(1.3, items) + 0.3
    appeal = np.where(rng.random((STYLES, items)) < 1 / STYLES, 8.0, 0.4)
    return Shelf(genre, fame * appeal * np.where(opening, 1.0, 0.05), sequel, titles)


def _history(shelf: Shelf, rng: np.random.Generator) -> np.ndarray:
    items = len(shelf.titles)
    shortest = min(SHORTEST, items)
    length = int(np.clip(rng.lognormal(3.1, 0.75), shortest, min(LONGEST, items)))
    taste = rng.dirichlet(np.full(len(GENRES), 0.3))
    viewer = Viewer(taste, int(rng.integers(STYLES)), rng.uniform(0.2, 0.7), int(taste.argmax()))
    fresh = np.ones(items, bool)
    history = np.empty(length, np.int64)
    for place in range(length):
        history[place] = item = _next(viewer, shelf, fresh, rng)
        fresh[item] = False
    return history


def _next(viewer: Viewer, shelf: Shelf, fresh: np.ndarray, rng: np.random.Generator) -> int:
    viewer.begun = [item for item in viewer.begun if fresh[item]]
    if viewer.begun and rng.random() < viewer.loyalty:
        item = viewer.begun.pop(0)
    else:
        if rng.random() < SWITCH:
            viewer.genre = int(rng.choice(len(GENRES), p=viewer.taste))
        item = _discovered(viewer, shelf, fresh, rng)
    if shelf.sequel[item] >= 0:
        viewer.begun = [*viewer.begun[-1:], int(shelf.sequel[item])]
    return item


def _discovered(viewer: Viewer, shelf: Shelf, fresh: np.ndarray, rng: np.random.Generator) -> int:
    """Return a fresh item of the viewer's present genre, or now and then of any genre."""
    wanted = fresh & (shelf.genre == viewer.genre)
    if rng.random() < 0.05 or not wanted.any():
        wanted = fresh
    weight = np.where(wanted, shelf.weight[viewer.style], 0.0).cumsum()
    return int(np.searchsorted(weight, rng.random() * weight[-1], side="right"))


def _times(length: int, rng: np.random.Generator) -> np.ndarray:
    """Return moments in seconds since 1970: a start within the year, then hours to weeks between events."""
    gaps = rng.lognormal(np.log(DAY), 1.5, length)
    return np.floor(EPOCH + rng.uniform(0, 300 * DAY) + np.cumsum(gaps))
