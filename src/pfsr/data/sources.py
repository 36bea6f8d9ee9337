"""Named public data sets, from their owners' addresses."""

import os
from dataclasses import dataclass
from pathlib import Path

from pfsr.data.download import Archive, unpacked

SYNTHETIC = "synthetic"

SOURCES = {
    "ml-100k": Archive(
        name="ml-100k",
        address="https://files.grouplens.org/datasets/movielens/ml-100k.zip",
        md5="0e33842e24a9c977be4e0107933c0723",
        members=("ml-100k/u.data", "ml-100k/u.item"),
    ),
    "ml-1m": Archive(
        name="ml-1m",
        address="https://files.grouplens.org/datasets/movielens/ml-1m.zip",
        md5="c4d9eecfca2ab87c1945afe126590906",
        members=("ml-1m/ratings.dat", "ml-1m/movies.dat"),
    ),
}
"""Events first, titles second. MovieLens: research use with citation, no redistribution."""

NAMED = (SYNTHETIC, *SOURCES)


@dataclass(frozen=True)
class Files:
    """Where a named data set lies.

    Attributes:
        events: the file of events.
        titles: the file of titles.
    """

    events: Path
    titles: Path


def fetch(archive: Archive, cache: Path | None = None) -> Files:
    """Return the files of a named data set, downloading them the first time.

    Args:
        archive: one of ``SOURCES``.
        cache: where downloads are kept; by default the folder PFSR_CACHE names, or ~/.cache/pfsr.

    Raises:
        PfsrError: the download fails; the message says where to put the file by hand.
    """
    events, titles = unpacked(archive, cache or cache_folder())
    return Files(events, titles)


def cache_folder() -> Path:
    """Return the folder that downloads are kept in."""
    named = os.environ.get("PFSR_CACHE")
    return Path(named).expanduser() if named else Path.home() / ".cache" / "pfsr"
