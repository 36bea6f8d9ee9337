"""``metrics.jsonl``: one line a round, what it took and, now and then, how good the model was."""

import json
import os
from pathlib import Path
from typing import Any

from pfsr.errors import PfsrError
from pfsr.evaluation.files import replace_file
from pfsr.runs.folder import RunFolder

Line = dict[str, Any]


def log_round(folder: RunFolder, line: Line) -> None:
    """Append a round."""
    with folder.metrics.open("a", encoding="utf-8") as stream:
        stream.write(json.dumps(line) + "\n")


def settle_log(folder: RunFolder) -> None:
    """Wait until the rounds so far are on disk, so that no checkpoint knows more than the log."""
    with folder.metrics.open("a") as stream:
        os.fsync(stream.fileno())


def read_metrics(folder: RunFolder, rounds: int = 0) -> list[Line]:
    """Return one mapping a round, the first to the last; a torn last line is left out.

    Args:
        folder: of the run.
        rounds: that must be there, as of a finished run.

    Raises:
        PfsrError: a line is damaged or missing.
    """
    found, beyond = _rounds(folder.metrics)
    if beyond > 1 or len(found) < rounds:
        raise _damaged(folder, len(found) + 1)
    return found


def forget_after(folder: RunFolder, rounds: int) -> None:
    """Drop the lines beyond ``rounds``, the newest checkpoint's: those rounds will be done again.

    Raises:
        PfsrError: a line before that is damaged or missing.
    """
    kept = _rounds(folder.metrics)[0][:rounds]
    if len(kept) < rounds:
        raise _damaged(folder, len(kept) + 1)
    if folder.metrics.exists():
        replace_file(folder.metrics, "".join(json.dumps(line) + "\n" for line in kept).encode())


def _damaged(folder: RunFolder, number: int) -> PfsrError:
    return PfsrError(
        f"{folder.metrics}: round {number} is damaged or missing; restore the file, "
        f"or remove {folder.root} and train again"
    )


def _rounds(path: Path) -> tuple[list[Line], int]:
    """Return the whole lines up to the first that is not the next round, and how many follow them."""
    texts = path.read_bytes().splitlines() if path.exists() else []
    found: list[Line] = []
    for text in texts:
        line = _parsed(text)
        if not isinstance(line, dict) or line.get("round") != len(found) + 1:
            break
        found.append(line)
    return found, len(texts) - len(found)


def _parsed(text: bytes) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return None
