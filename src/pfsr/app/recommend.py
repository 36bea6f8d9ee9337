"""``pfsr recommend``: what a person wants next."""

from collections.abc import Hashable
from pathlib import Path
from typing import Annotated

import polars as pl
from cyclopts import Parameter
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from pfsr.data import Dataset
from pfsr.errors import PfsrError
from pfsr.model.bundle import open_bundle
from pfsr.runs.api import TrainedRun, open_run
from pfsr.runs.folder import RunFolder
from pfsr.runs.watcher import say


def recommend(
    model: Path,
    *,
    person: str | None = None,
    history: Annotated[str | None, Parameter(allow_leading_hyphen=True)] = None,
    k: Annotated[int, Parameter(alias="-k")] = 10,
    seen: bool = False,
) -> None:
    """Show the best next items for a person of a run, or for anyone's list of items.

    Parameters
    ----------
    model
        A run folder, or a bundle (.safetensors) for --history.
    person
        A person's id in the run's data; gets the personal model. By default the first person.
    history
        Item ids, oldest first, separated by commas; gets the global model.
    k
        How many items.
    seen
        Also recommend items of the history.
    """
    console = Console()
    if history is not None:
        if person is not None:
            raise PfsrError("give --person or --history, not both")
        _for_history(model, history, k, seen, console)
    else:
        _for_person(open_run(model), person, k, seen, console)


def _for_history(path: Path, history: str, k: int, seen: bool, console: Console) -> None:
    bundle = open_bundle(RunFolder(path).best if path.is_dir() else path)
    ids = [part.strip() for part in history.split(",") if part.strip()]
    known = [part if bundle.catalog.known(part) else _number(part) for part in ids]
    frame = bundle.recommend([known], k, exclude_seen=not seen)
    console.print(_table(frame, f"after {len(known)} items (global model)"))


def _for_person(run: TrainedRun, person: str | None, k: int, seen: bool, console: Console) -> None:
    dataset = run.run.bench.dataset
    known = dataset.people[0] if person is None else _person(dataset, person)
    items = dataset.sequences.history(dataset.person(known))
    recent = " · ".join(dataset.catalog.title(item) for item in items[-5:].tolist())
    say(console, f"most recent: {recent}")
    kind = "personal" if run.personal else "global"
    frame = run.recommend(known, k, exclude_seen=not seen)
    console.print(_table(frame, f"person {known} after {len(items)} events ({kind} model)"))


def _person(dataset: Dataset, person: str) -> Hashable:
    """Read an id from the command line: text first, then a number."""
    try:
        dataset.person(person)
    except PfsrError:
        number = _number(person)
        if not isinstance(number, int):
            raise
        dataset.person(number)
        return number
    return person


def _number(text: str) -> str | int:
    try:
        return int(text)
    except ValueError:
        return text


def _table(frame: pl.DataFrame, title: str) -> Table:
    table = Table(title=escape(title), title_justify="left")
    for name in ("rank", "item_id", "title", "score"):
        table.add_column(name, justify="right" if name in ("rank", "score") else "left")
    for row in frame.iter_rows(named=True):
        cells = (str(row["rank"]), str(row["item_id"]), row["title"], f"{row['score']:.3f}")
        table.add_row(*map(escape, cells))
    return table
