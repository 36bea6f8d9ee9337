import numpy as np
import pytest

from pfsr.data import synthetic_world
from pfsr.data.synthetic import world


@pytest.fixture(scope="module")
def data():
    return synthetic_world()


def hit_rate(data, score, at=10):
    """Share of people whose last item is among the ``at`` best unseen ones by ``score(prefix)``."""
    hits = []
    for person in range(len(data.people)):
        *prefix, target = data.sequences.history(person).tolist()
        scores = score(prefix).astype(float)
        scores[prefix] = -np.inf
        scores[0] = -np.inf
        hits.append((scores >= scores[target]).sum() <= at)
    return np.mean(hits)


def counts(data, lag):
    """Return how often each item followed each other ``lag`` events later, last events left out."""
    table = np.zeros((len(data.catalog) + 1,) * 2)
    for person in range(len(data.people)):
        prefix = data.sequences.history(person)[:-1]
        np.add.at(table, (prefix[:-lag], prefix[lag:]), 1)
    return table


def test_order_pays_and_more_than_the_last_event_pays_more(data):
    first, second = counts(data, 1), counts(data, 2)
    popular = first.sum(0)
    smooth = popular / popular.sum()
    by_popularity = hit_rate(data, lambda prefix: smooth)
    by_last = hit_rate(data, lambda prefix: first[prefix[-1]] + smooth)
    by_two = hit_rate(data, lambda prefix: first[prefix[-1]] + second[prefix[-2]] + smooth)
    assert by_popularity < 0.2
    assert by_last > by_popularity + 0.04
    assert by_two > by_last + 0.08


def test_taste_lasts_beyond_the_last_events(data):
    """The genre of an event is likelier among a person's oldest genres than among another person's."""
    genres = [title.split(":")[0].rsplit(" ", 1)[0] for title in data.catalog.titles]
    first, last = [], []
    for person in range(len(data.people)):
        history = [genres[row - 1] for row in data.sequences.history(person)]
        if len(history) >= 20:
            first.append(set(history[:5]))
            last.append(history[-1])
    own = np.mean([genre in early for genre, early in zip(last, first, strict=True)])
    other = np.mean([genre in early for genre, early in zip(last, first[1:] + first[:1], strict=True)])
    assert own > other + 0.12


def test_same_seed_same_world_other_seed_other_world():
    one, same, other = (world(40, 60, seed) for seed in (3, 3, 4))
    assert np.array_equal(one.events.items, same.events.items)
    assert np.array_equal(one.events.times, same.events.times)
    assert one.titles == same.titles
    assert not np.array_equal(one.events.items, other.events.items)


def test_sizes_lengths_and_labels(data):
    assert len(data.people) == 600
    assert 250 <= len(data.catalog) <= 300
    assert data.sequences.lengths.min() >= 5
    assert data.sequences.lengths.max() <= 120
    assert all(title.startswith("Synthetic ") for title in data.catalog.titles)
    assert len(set(data.catalog.titles)) == len(data.catalog)


def test_nobody_watches_an_item_twice_and_time_rises(data):
    for person in range(len(data.people)):
        history = data.sequences.history(person)
        assert len(set(history.tolist())) == len(history)
    inside = np.ones(len(data.sequences.items) - 1, bool)
    inside[data.sequences.offsets[1:-1] - 1] = False
    assert (np.diff(data.sequences.times)[inside] >= 0).all()


@pytest.mark.parametrize(("people", "items"), [(1, 2), (3, 3), (10, 7)])
def test_tiny_worlds_are_whole(people, items):
    data = synthetic_world(people, items, seed=1)
    assert len(data.people) == people
    assert data.sequences.lengths.min() >= min(5, items)
