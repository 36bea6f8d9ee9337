"""Finds items by words of their titles, whatever the case and the accents."""

import unicodedata

from pfsr.data.catalog import Catalog


def folded(text: str) -> str:
    """Return ``text`` without case and accents: ``Amélie`` becomes ``amelie``."""
    parts = unicodedata.normalize("NFKD", text.casefold())
    return "".join(part for part in parts if not unicodedata.combining(part))


class TitleSearch:
    """Searches the catalogue it was last asked about without folding its titles again."""

    def __init__(self) -> None:
        self._latest: tuple[Catalog | None, list[str]] = None, []

    def find(self, catalog: Catalog, text: str, limit: int) -> list[int]:
        """Return rows whose title has every word of ``text`` in it, those that begin with it first.

        An item whose id is ``text`` comes before all others.
        """
        words, whole = folded(text).split(), folded(text).strip()
        titles = self._titles(catalog)
        hits = [row for row, title in enumerate(titles, start=1) if all(word in title for word in words)]
        named = [catalog.row(text)] if catalog.known(text) else []
        hits.sort(key=lambda row: (row not in named, not titles[row - 1].startswith(whole)))
        return [*named, *(row for row in hits if row not in named)][:limit]

    def _titles(self, catalog: Catalog) -> list[str]:
        known, titles = self._latest
        if known is not catalog:
            titles = [folded(catalog.title(row)) for row in range(1, len(catalog) + 1)]
            self._latest = catalog, titles
        return titles
