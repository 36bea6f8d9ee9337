"""People, items and histories that belong together."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import polars as pl

from pfsr.data.catalog import Catalog
from pfsr.data.ids import key, plain, unknown
from pfsr.data.sequences import Sequences
from pfsr.errors import PfsrError

People = pl.Series | Sequence[Hashable]
"""User ids in row order: a polars Series (text or integers) or a tuple; ``people[row]`` is the id."""


@dataclass(frozen=True)
class Dataset:
    """Everybody's history, ready to be split and trained on.

    Attributes:
        name: names the data in reports.
        people: user id of each row of ``sequences``.
        catalog: the items; ``sequences.items`` are its rows.
        sequences: the histories, each in order of time.
        origin: the settings of ``config.DataConfig`` that read it again; empty for a table in memory.
    """

    name: str
    people: People
    catalog: Catalog
    sequences: Sequences
    origin: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if len(self.people) != len(self.sequences):
            raise PfsrError(f"{self.name}: {len(self.people)} people but {len(self.sequences)} histories")

    def person(self, user_id: Any) -> int:
        """Return the row of ``user_id``.

        Raises:
            PfsrError: the person is unknown.
        """
        row = self._find(user_id)
        if row is None:
            raise unknown("person", user_id, lambda other: self._find(other) is not None)
        return row

    def _find(self, user_id: Any) -> int | None:
        try:
            wanted = plain(user_id)
        except PfsrError:
            return None
        if isinstance(self.people, pl.Series):
            return _find_in_series(self.people, wanted)
        return next((row for row, other in enumerate(self.people) if key(other) == key(wanted)), None)


def _find_in_series(people: pl.Series, wanted: Hashable) -> int | None:
    kind = str if people.dtype == pl.String else int
    if type(wanted) is not kind:
        return None
    try:
        found = np.flatnonzero((people == wanted).to_numpy())
    except (OverflowError, pl.exceptions.PolarsError):
        return None
    return int(found[0]) if len(found) else None
