"""Where the parts of a run lie, and how they are written: whole or not at all."""

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pfsr.errors import PfsrError
from pfsr.evaluation.files import replace_file


@dataclass(frozen=True)
class RunFolder:
    """The layout of a run folder.

    ``config.json`` the resolved configuration; ``facts.json`` split hash, versions, sizes;
    ``metrics.jsonl`` one line a round; ``checkpoints/`` the newest checkpoint; ``private.f32`` everybody's
    private parameters; ``best.safetensors`` the bundle; ``evaluation/`` ranks per person;
    ``report.html`` and ``figures/``; ``tensorboard/`` when the run is tracked.
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
        """The bundle: the best look so far while training, the final model afterwards."""
        return self.root / "best.safetensors"

    @property
    def evaluation(self) -> Path:
        """Ranks and losses per person and method."""
        return self.root / "evaluation"

    @property
    def report(self) -> Path:
        """The page to read."""
        return self.root / "report.html"

    @property
    def figures(self) -> Path:
        """The report's figures, one file each."""
        return self.root / "figures"

    @property
    def curves(self) -> Path:
        """TensorBoard's files."""
        return self.root / "tensorboard"


def new_run(root: Path, overwrite: bool) -> RunFolder:
    """Return a folder in which a run may start; nothing is written or removed yet.

    Raises:
        PfsrError: there is something at ``root`` already and ``overwrite`` is false, or it is no run folder.
    """
    folder = RunFolder(root)
    if not root.exists():
        return folder
    if not root.is_dir():
        raise PfsrError(f"{root}: a file, not a folder; name another --out")
    if any(root.iterdir()) and not overwrite:
        raise PfsrError(
            f"{root}: not empty; go on with --resume, replace it with --overwrite, or name another --out"
        )
    if any(root.iterdir()) and not folder.facts.exists():
        raise PfsrError(f"{root}: not a run folder, so --overwrite leaves it alone; name another --out")
    return folder


def clear_run(folder: RunFolder) -> None:
    """Remove what an earlier run left in ``folder``, and nothing else."""
    for part in (folder.checkpoints, folder.evaluation, folder.figures, folder.curves):
        shutil.rmtree(part, ignore_errors=True)
    # The facts go last: a folder that holds them can be cleared again after a kill.
    for part in (folder.config, folder.metrics, folder.private, folder.best, folder.report, folder.facts):
        part.unlink(missing_ok=True)


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
    """Write ``content`` to ``path``, whole or not at all.

    Raises:
        PfsrError: the place cannot be written.
    """
    replace_file(path, json.dumps(content, indent=2, ensure_ascii=False).encode())


def read_json(path: Path) -> dict[str, Any]:
    """Return what :func:`write_json` wrote.

    Raises:
        PfsrError: the file is missing or damaged.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise PfsrError(f"{path}: no such file; is this a run folder of pfsr train?") from None
    except (ValueError, OSError) as error:
        raise PfsrError(f"{path}: damaged ({error}); restore it or train again") from None
    if not isinstance(content, dict):
        raise PfsrError(f"{path}: damaged (not a mapping); restore it or train again")
    return content
