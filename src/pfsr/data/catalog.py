"""What can be recommended: item id <-> catalogue row, and titles for people to read."""

from collections.abc import Hashable, Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from pfsr.data.ids import decode, encode, key, plain, shown, unknown
from pfsr.errors import PfsrError


@dataclass(frozen=True)
class Catalog:
    """Items in row order. Row 0 is padding; the first id has row 1.

    Attributes:
        ids: item ids; ``'1'`` and ``1`` are two items.
        titles: one title per id, or None.

    Raises:
        PfsrError: an id occurs twice or has a type that cannot be saved exactly, or titles and ids
            differ in number.
    """

    ids: tuple[Hashable, ...]
    titles: list[str] | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "ids", tuple(plain(item_id) for item_id in self.ids))
        if self.titles is not None and len(self.titles) != len(self.ids):
            raise PfsrError(f"catalogue: {len(self.titles)} titles for {len(self.ids)} items; give one each")
        if len(self._rows) != len(self.ids):
            raise PfsrError(f"catalogue: item {shown(self._repeated())} occurs twice; list every item once")

    @cached_property
    def _rows(self) -> dict[Hashable, int]:
        return {key(item_id): row for row, item_id in enumerate(self.ids, start=1)}

    def _repeated(self) -> Hashable:
        return next(item for row, item in enumerate(self.ids, start=1) if self._rows[key(item)] != row)

    def __len__(self) -> int:
        return len(self.ids)

    def known(self, item_id: Any) -> bool:
        """Tell whether ``item_id`` is in the catalogue."""
        return self._find(item_id) is not None

    def row(self, item_id: Any) -> int:
        """Return the row (1 to ``len``) of ``item_id``.

        Raises:
            PfsrError: the item is unknown.
        """
        row = self._find(item_id)
        if row is None:
            raise unknown("item", item_id, self.known)
        return row

    def rows(self, ids: Iterable[Any]) -> np.ndarray:
        """Return the rows of ``ids``, int32 [n]; raises like :meth:`row`."""
        return np.fromiter((self.row(item_id) for item_id in ids), np.int32)

    def item_id(self, row: int) -> Hashable:
        """Return the id at ``row`` (1 to ``len``).

        Raises:
            PfsrError: there is no such row.
        """
        if not 1 <= row <= len(self.ids):
            raise PfsrError(f"catalogue row {row}: rows go from 1 to {len(self.ids)}")
        return self.ids[row - 1]

    def title(self, row: int) -> str:
        """Return the title at ``row``, or its id as text; raises like :meth:`item_id`."""
        item_id = self.item_id(row)
        return str(item_id) if self.titles is None else self.titles[row - 1]

    def to_json(self) -> dict[str, Any]:
        """Return a JSON-able form that :meth:`from_json` reads back exactly."""
        return {"ids": [encode(item_id) for item_id in self.ids], "titles": self.titles}

    @classmethod
    def from_json(cls, form: dict[str, Any]) -> "Catalog":
        """Return the catalogue that :meth:`to_json` wrote.

        Raises:
            PfsrError: the form is damaged.
        """
        ids, titles = (form.get("ids"), form.get("titles")) if isinstance(form, dict) else (None, None)
        if not isinstance(ids, list) or not _are_titles(titles):
            raise PfsrError("catalogue: expected lists 'ids' and 'titles'; export the catalogue again")
        return cls(tuple(decode(item_id) for item_id in ids), titles)

    def _find(self, item_id: Any) -> int | None:
        try:
            return self._rows.get(key(plain(item_id)))
        except (PfsrError, TypeError):
            return None


def _are_titles(titles: Any) -> bool:
    return titles is None or (isinstance(titles, list) and all(isinstance(title, str) for title in titles))
