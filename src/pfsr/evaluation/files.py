"""Files that appear whole or not at all."""

from contextlib import suppress
from pathlib import Path

from pfsr.errors import PfsrError


def replace_file(path: Path, data: bytes) -> None:
    """Write ``data`` to ``path``, whole or not at all; what was there stays until then.

    Raises:
        PfsrError: the place cannot be written.
    """
    partial = path.with_name(path.name + ".partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial.write_bytes(data)
        partial.replace(path)
    except OSError as error:
        with suppress(OSError):
            partial.unlink()
        raise PfsrError(f"{path}: cannot be written: {error.strerror or error}") from None
