"""The best items: exactly, or in a large catalogue through an index of approximate nearest neighbours.

A score is an inner product, <item, query> + bias, that is <[item, bias], [query, 1]>. Graphs of neighbours
by inner product do not connect well: short vectors are nobody's neighbours. So the graph links items by
angle, and only the search goes by inner product. With 30,000 items of a mixture, 16 links and 1,024
candidates recall@10 is .98 so; .91 with links by inner product; .70 with vectors made equally long.

Source: usearch (hierarchical navigable small worlds, arXiv 1603.09320).

Shapes: I items, d = d_model, e = d + 1; rows of items go from 1 to I.
"""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pfsr.device.manifest import INDEX, damaged
from pfsr.errors import PfsrError

if TYPE_CHECKING:
    from usearch.index import Index

EXACT_LIMIT = 200_000
"""Catalogues below this are ranked exactly."""

LINKS, BUILD_WIDTH = 32, 128
"""Neighbours an item is linked to, and how many are looked at to find them."""

WIDTHS, ENOUGH = (128, 192, 256, 384, 512, 768, 1024, 1536, 2048, 3072, 4096), 0.97
"""How many candidates a search may look at, and the recall@10 that makes it wide enough."""


Told = Callable[[int, int], None]
"""Hears how many items of how many the index holds while it is built."""


def unheard(done: int, total: int) -> None:
    """Tell nobody."""


def best_places(scores: np.ndarray, k: int) -> np.ndarray:
    """Return the places of the ``k`` highest scores, best first; of equal scores the first place wins.

    Places with -infinity are left out, so there may be fewer.
    """
    if k < len(scores):
        least = np.partition(scores, len(scores) - k)[len(scores) - k]
        places = np.flatnonzero(scores >= least)
    else:
        places = np.arange(len(scores))
    order = places[np.argsort(-scores[places], kind="stable")][:k]
    return order[scores[order] > -np.inf]


class NeighbourIndex:
    """Finds, among very many items, those that score highest, but for a few that it misses."""

    def __init__(self, index: "Index") -> None:
        self._index = index

    @classmethod
    def build(cls, vectors_Id: np.ndarray, bias_I: np.ndarray, tell: Told = unheard) -> "NeighbourIndex":
        """Return an index of the items' vectors and biases; row 1 comes first.

        A million items take tens of minutes of processor time, on all cores; ``tell`` hears how far it is.

        Raises:
            PfsrError: usearch is not installed.
        """
        index = _library()(
            ndim=vectors_Id.shape[1] + 1,
            metric="cos",
            dtype="f16",
            connectivity=LINKS,
            expansion_add=BUILD_WIDTH,
        )
        vectors_Ie = np.column_stack([vectors_Id, bias_I])
        index.add(np.arange(1, len(vectors_Id) + 1), vectors_Ie, progress=_goes_on(tell))
        return cls(index)

    @classmethod
    def open(cls, folder: Path, expansion: int) -> "NeighbourIndex":
        """Map the index of a device model, to be searched ``expansion`` wide.

        Raises:
            PfsrError: usearch is not installed, or cannot read the index.
        """
        library = _library()
        try:
            index = library.restore(folder / INDEX, view=True)
        except (RuntimeError, ValueError, OSError) as error:
            raise damaged(folder, f"{INDEX}: {str(error).splitlines()[0]}") from None
        if index is None:
            raise damaged(folder, f"{INDEX} is no index")
        found = cls(index)
        found.widen(expansion)
        return found

    def save(self, folder: Path) -> None:
        """Write the index into a device model's folder."""
        self._index.save(folder / INDEX)

    def widen(self, expansion: int) -> None:
        """Look at ``expansion`` candidates a search: more find more and take longer."""
        from usearch.compiled import MetricKind

        self._index.metric = MetricKind.IP
        self._index.expansion_search = expansion

    def search(self, query_d: np.ndarray, count: int) -> np.ndarray:
        """Return the rows of about the ``count`` best items for a query, best first."""
        found = self._index.search(np.append(query_d, np.float32(1)), count)
        return np.asarray(found.keys, np.int64)

    def search_without(self, query_d: np.ndarray, k: int, excluded: np.ndarray) -> np.ndarray:
        """Return the rows of about the ``k`` best items that are not ``excluded``, best first.

        Few of what a person has had are among the best, so the search starts narrow and widens where needed.
        """
        most = min(k + len(excluded), len(self._index))
        count = min(most, max(k, self._index.expansion_search))
        while True:
            rows = self.search(query_d, count)
            left = rows[~np.isin(rows, excluded)]
            if len(left) >= k or count == most:
                return left
            count = min(4 * count, most)


def measured_expansion(
    index: NeighbourIndex, queries_Bd: np.ndarray, score: Callable[[np.ndarray], np.ndarray]
) -> tuple[int, float]:
    """Return the narrowest search that finds 97 in 100 of the best 10 items, and the share that it finds.

    Args:
        index: the items.
        queries_Bd: what is asked for.
        score: gives the exact scores [I + 1] of a query.

    Where even the widest search finds fewer, it is the widest.
    """
    truth = [best_places(score(query_d), 10) for query_d in queries_Bd]
    found = 0.0
    for expansion in WIDTHS:
        index.widen(expansion)
        found = float(np.mean([_recall(index, *pair) for pair in zip(queries_Bd, truth, strict=True)]))
        if found >= ENOUGH:
            return expansion, found
    return WIDTHS[-1], found


def _recall(index: NeighbourIndex, query_d: np.ndarray, best: np.ndarray) -> float:
    return len(np.intersect1d(index.search(query_d, len(best)), best)) / len(best)


def _goes_on(tell: Told) -> Callable[[int, int], bool]:
    """Return what usearch asks while it builds: it stops where the answer is no."""

    def asked(done: int, total: int) -> bool:
        tell(done, total)
        return True

    return asked


def _library() -> "type[Index]":
    try:
        from usearch.index import Index
    except ImportError:
        raise PfsrError(
            f"catalogues of {EXACT_LIMIT:,} items and more need usearch: pip install 'pfsr[device]'"
        ) from None
    return Index
