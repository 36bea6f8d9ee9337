"""A public archive into the cache: downloaded, checked against its published checksum, unpacked."""

import hashlib
import os
import shutil
import tempfile
import urllib.request
import zipfile
from dataclasses import dataclass
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from typing import IO
from urllib.error import HTTPError

from rich.console import Console
from rich.progress import Progress

from pfsr.errors import PfsrError

BLOCK = 1 << 16
TIMEOUT = 30.0
"""Seconds without a byte after which a download counts as failed."""


@dataclass(frozen=True)
class Archive:
    """A public zip file.

    Attributes:
        name: names it on the command line and in the cache.
        address: where its owner publishes it.
        md5: the checksum its owner publishes.
        members: the files wanted from it, by their path inside.
    """

    name: str
    address: str
    md5: str
    members: tuple[str, ...]


def unpacked(archive: Archive, cache: Path) -> list[Path]:
    """Return the members of ``archive`` as files in ``cache``, downloading what is not there yet.

    Raises:
        PfsrError: the download fails, or the archive is not what its owner published.
    """
    targets = [cache / archive.name / Path(member).name for member in archive.members]
    if not all(target.is_file() for target in targets):
        _unpack(archive, _archived(archive, cache), targets)
    return targets


def _archived(archive: Archive, cache: Path) -> Path:
    """Return the archive's place in the cache; a file put there by hand is checked like a download."""
    place = cache / f"{archive.name}.zip"
    if place.is_file():
        _verify(archive, place, f"delete {place}, download {archive.address} again and put it there")
        return place
    _fetch(archive, place)
    return place


def _fetch(archive: Archive, place: Path) -> None:
    """Download to a temporary file beside ``place``, which appears only when it is whole and right."""
    by_hand = f"download it by hand from {archive.address} and put it at {place}"
    part = _temporary(place)
    try:
        with part.open("wb") as stream:
            _download(archive, stream, by_hand)
        _verify(archive, part, by_hand)
        part.replace(place)
    finally:
        part.unlink(missing_ok=True)


def _temporary(place: Path) -> Path:
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        handle, part = tempfile.mkstemp(dir=place.parent, prefix=f"{place.stem}.", suffix=".part")
    except OSError as error:
        raise PfsrError(f"{place.parent}: cannot be written ({error.strerror}); set PFSR_CACHE") from None
    os.close(handle)
    return Path(part)


def _download(archive: Archive, stream: IO[bytes], by_hand: str) -> None:
    try:
        with urllib.request.urlopen(archive.address, timeout=TIMEOUT) as response:
            received, expected = _copy(response, stream, archive.name)
    except (OSError, HTTPException) as error:
        if isinstance(error, HTTPError):
            error.close()
        reason = " ".join(str(error).split())
        raise PfsrError(f"{archive.name}: cannot be downloaded ({reason}); {by_hand}") from None
    if expected is not None and received != expected:
        raise PfsrError(
            f"{archive.name}: download cut off after {received} of {expected} bytes; try again, or {by_hand}"
        )


def _copy(response: HTTPResponse, stream: IO[bytes], name: str) -> tuple[int, int | None]:
    expected = response.length
    received = 0
    with Progress(console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(name, total=expected)
        while block := response.read(BLOCK):
            stream.write(block)
            received += len(block)
            progress.update(task, completed=received)
    return received, expected


def _verify(archive: Archive, path: Path, mend: str) -> None:
    with path.open("rb") as stream:
        found = hashlib.file_digest(stream, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
    if found != archive.md5:
        raise PfsrError(f"{archive.name}: checksum {found}, published {archive.md5}; {mend}")


def _unpack(archive: Archive, place: Path, targets: list[Path]) -> None:
    """Write each wanted member to a name of our own choosing, so that no path inside can lead elsewhere."""
    try:
        with zipfile.ZipFile(place) as content:
            for member, target in zip(archive.members, targets, strict=True):
                target.parent.mkdir(parents=True, exist_ok=True)
                with content.open(member) as source:
                    _write_whole(source, target)
    except (zipfile.BadZipFile, KeyError, OSError) as error:
        raise PfsrError(f"{place}: cannot be unpacked ({error}); delete it and try again") from None


def _write_whole(source: IO[bytes], target: Path) -> None:
    part = target.with_name(f"{target.name}.{os.getpid()}.part")
    try:
        with part.open("wb") as stream:
            shutil.copyfileobj(source, stream)
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)
