"""Where the parts of a run lie, and how they are written: whole or not at all."""

import json
import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pfsr.errors import PfsrError


@dataclass(frozen=True)
class RunFolder:
    """The layout of a run folder.

    ``config.json`` the resolved configuration; ``facts.json`` split hash, versions, sizes;
    ``metrics.jsonl`` one line a round; ``checkpoint/`` the newest checkpoint; ``private.f32`` everybody's
    private parameters; ``best.safetensors`` the best bundle; ``evaluation/`` ranks per person;
    ``report.html`` and ``figures/``.
    """

    root: Path

    @property
    def config(self) -> Path:
        """The resolved configuration."""
        return self.root / "config.json"

    @property
    def facts(self) -> Path:
        """What the run was made of."""
        return self.root / "facts.json"

    @property
    def metrics(self) -> Path:
        """One line a round."""
        return self.root / "metrics.jsonl"

    @property
    def checkpoints(self) -> Path:
        """The newest checkpoint."""
        return self.root / "checkpoints"

    @property
    def private(self) -> Path:
        """Private parameters of the simulated people."""
        return self.root / "private.f32"

    @property
    def best(self) -> Path:
        """The bundle with the best validation NDCG@10."""
        return self.root / "best.safetensors"

    @property
    def evaluation(self) -> Path:
        """Ranks and losses per person and method."""
        return self.root / "evaluation"

    @property
    def report(self) -> Path:
        """The page to read."""
        return self.root / "report.html"


def new_run(root: Path, overwrite: bool) -> RunFolder:
    """Make an empty run folder.

    Raises:
        PfsrError: there is something at ``root`` already and ``overwrite`` is false, or it is no run folder.
    """
    folder = RunFolder(root)
    if root.exists() and any(root.iterdir()):
        if not overwrite:
            raise PfsrError(
                f"{root}: not empty; go on with --resume, replace it with --overwrite, or name another --out"
            )
        if not folder.config.exists():
            raise PfsrError(f"{root}: not a run folder, so --overwrite leaves it alone; name another --out")
        shutil.rmtree(root)
    root.mkdir(parents=True, exist_ok=True)
    return folder


def open_run(root: Path) -> RunFolder:
    """Return the run folder at ``root``.

    Raises:
        PfsrError: there is none.
    """
    folder = RunFolder(root)
    if not folder.config.exists():
        raise PfsrError(
            f"{root}: not a run folder (no config.json in it); runs are made by pfsr train RECIPE"
        )
    return folder


def write_json(path: Path, content: Any) -> None:
    """Write ``content`` to ``path``, whole or not at all, and wait until it is on disk."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    with os.fdopen(handle, "w", encoding="utf-8") as stream:
        json.dump(content, stream, indent=2, ensure_ascii=False)
        stream.flush()
        os.fsync(stream.fileno())
    Path(temporary).replace(path)


def read_json(path: Path) -> dict[str, Any]:
    """Return what :func:`write_json` wrote.

    Raises:
        PfsrError: the file is missing or damaged.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise PfsrError(f"{path}: no such file; is this a run folder of pfsr train?") from None
    except (ValueError, OSError) as error:
        raise PfsrError(f"{path}: damaged ({error}); restore it or train again") from None
