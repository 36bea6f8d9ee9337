"""Files that appear whole or not at all."""

import os
from contextlib import suppress
from pathlib import Path

from pfsr.errors import PfsrError


def replace_file(path: Path, data: bytes) -> None:
    """Write ``data`` to ``path``, whole or not at all, and wait until it is on disk.

    What was there stays until then.

    Raises:
        PfsrError: the place cannot be written.
    """
    partial = path.with_name(f".{path.name}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with partial.open("wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        partial.replace(path)
    except OSError as error:
        with suppress(OSError):
            partial.unlink()
        raise PfsrError(f"{path}: cannot be written: {error.strerror or error}") from None
