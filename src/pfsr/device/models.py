"""The device models of one person's folder: the one in use, and the one before it.

    FOLDER/models/<version>/    a copy of the folder that ``pfsr export`` wrote, whole or not there

Which of them is in use is one setting of the store, so that a crash leaves either the old answer or the new.
Private offsets fit a model when its sites have the layout of the model they were learned with; the setting
remembers the layouts, so offsets that do not fit are left alone, not lost, until new ones are learned.
"""

import hashlib
import json
import os
import shutil
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from pfsr.device.manifest import MANIFEST, SiteLayout, read_manifest, site_layout
from pfsr.device.records import Offsets
from pfsr.device.store import Store
from pfsr.errors import PfsrError

SETTING = "models"


class InUse(NamedTuple):
    """What the store remembers about models.

    Attributes:
        current: version of the model in use; None: there is none yet.
        previous: version of the one before, for a rollback.
        layouts: model version -> digest of the layout of its sites.
    """

    current: str | None
    previous: str | None
    layouts: dict[str, str]


class Models:
    """The models of the folder of ``store``. Not thread-safe: the device calls it under its lock."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.folder = store.folder / "models"

    @property
    def in_use(self) -> InUse:
        """Which models are current and previous."""
        return InUse(**self._store.settings().get(SETTING, InUse(None, None, {})._asdict()))

    def path(self, version: str) -> Path:
        """Return where the model of that version lies."""
        return self.folder / version

    def add(self, source: Path) -> str:
        """Copy a device model into the folder, whole or not at all; return its version.

        Raises:
            PfsrError: it is no device model, damaged or from a newer PFSR; or the copy cannot be written.
        """
        manifest = read_manifest(source)
        place = self.path(manifest.model_version)
        if not _is_whole(place):
            try:
                _copy(source, place, (MANIFEST, *manifest.files))
            except OSError as error:
                raise PfsrError(f"{place}: cannot be written: {error.strerror or error}") from None
        return manifest.model_version

    def use(self, version: str, offsets: Offsets | None) -> None:
        """Make ``version`` the current model, durably, and the current one the previous; drop all others.

        Args:
            version: of a model that was added, or of the previous one.
            offsets: the person's private offsets.
        """
        before = self.in_use
        if version != before.current:
            kept = {version, before.current, offsets and offsets.model_version}
            layouts = {name: digest for name, digest in before.layouts.items() if name in kept}
            layouts[version] = _digest(site_layout(read_manifest(self.path(version))))
            self._store.set_setting(SETTING, InUse(version, before.current, layouts)._asdict())
        self.prune()

    def fitting(self, offsets: Offsets | None, sites: SiteLayout) -> bool:
        """Tell whether private offsets belong to a model whose sites have this layout."""
        return offsets is not None and self.in_use.layouts.get(offsets.model_version) == _digest(sites)

    def prune(self) -> None:
        """Remove models that are neither current nor previous, and copies that were not finished."""
        kept = set(self.in_use[:2])
        if self.folder.is_dir():
            for path in self.folder.iterdir():
                if path.name not in kept:
                    shutil.rmtree(path, ignore_errors=True)


def _is_whole(place: Path) -> bool:
    try:
        return read_manifest(place).model_version == place.name
    except PfsrError:
        return False


def _copy(source: Path, place: Path, names: tuple[str, ...]) -> None:
    unfinished = place.with_name(f".{place.name}.part")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(parents=True)
    try:
        for name in names:
            shutil.copyfile(source / name, unfinished / name)
            with (unfinished / name).open("rb+") as written:
                os.fsync(written.fileno())
        _sync_entry(unfinished)
        if place.exists():  # damaged: a whole one was looked for before
            shutil.rmtree(place)
        unfinished.rename(place)
        _sync_entry(place.parent)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def _sync_entry(folder: Path) -> None:
    """Make a folder's list of names durable, where the system can."""
    with suppress(OSError):
        entry = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(entry)
        finally:
            os.close(entry)


def _digest(sites: SiteLayout) -> str:
    told: list[Any] = [sites.names, sites.sizes]
    return hashlib.sha256(json.dumps(told).encode()).hexdigest()[:16]
