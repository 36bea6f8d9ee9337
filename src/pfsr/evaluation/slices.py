"""Who is served how well: the groups of people and targets that an average hides."""

import numpy as np

LENGTHS = {"1-5": (0, 5), "6-10": (6, 10), "11-20": (11, 20), "21-50": (21, 50), ">50": (51, np.inf)}


def length_slices(history_lengths: np.ndarray) -> dict[str, np.ndarray]:
    """Return membership by events before the target, bool [n] under ``history 1-5`` ... ``history >50``."""
    return {
        f"history {name}": (history_lengths >= low) & (history_lengths <= high)
        for name, (low, high) in LENGTHS.items()
    }


def worst_decile(nll: np.ndarray) -> np.ndarray:
    """Return bool [n]: the tenth of the people (rounded up) with the highest NLL under this very model.

    NLL orders people more finely than rank does. Because each model has its own worst tenth, its
    numbers say how badly a method serves those it serves worst; they are not a paired comparison.
    """
    chosen = np.zeros(len(nll), bool)
    chosen[np.argsort(-nll, kind="stable")[: -(-len(nll) // 10)]] = True
    return chosen


def tied_in_time(
    offsets: np.ndarray, times: np.ndarray, people: np.ndarray, positions: np.ndarray
) -> np.ndarray:
    """Return bool [n]: the target has the same time as the event before it.

    The order inside such a tie is the source file's, which flatters sequence models.
    """
    events = offsets[people] + positions
    return (positions > 0) & (times[events] == times[np.maximum(events - 1, 0)])


def training_items(offsets: np.ndarray, items: np.ndarray, train_ends: np.ndarray) -> np.ndarray:
    """Return the catalogue rows that occur in anybody's training prefix, sorted int32."""
    position = np.arange(len(items)) - np.repeat(offsets[:-1], np.diff(offsets))
    return np.unique(items[position < np.repeat(train_ends, np.diff(offsets))])
