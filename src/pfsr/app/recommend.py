"""``pfsr recommend``: what a person wants next."""

from pathlib import Path
from typing import Annotated

import numpy as np
import polars as pl
from cyclopts import Parameter
from rich.console import Console
from rich.table import Table

from pfsr.errors import PfsrError
from pfsr.model.bundle import open_bundle
from pfsr.runs.folder import open_run
from pfsr.runs.train import Run, reopen_run


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
        _for_person(reopen_run(open_run(model)), person, k, seen, console)


def _for_history(path: Path, history: str, k: int, seen: bool, console: Console) -> None:
    bundle = open_bundle(open_run(path).best if path.is_dir() else path)
    ids = [part.strip() for part in history.split(",") if part.strip()]
    known = [part if bundle.catalog.known(part) else _number(part) for part in ids]
    frame = bundle.recommend([known], k, exclude_seen=not seen)
    console.print(_table(frame, f"after {len(known)} items (global model)"))


def _for_person(run: Run, person: str | None, k: int, seen: bool, console: Console) -> None:
    dataset, model = run.bench.dataset, open_bundle(run.folder.best)
    row = 0 if person is None else _person(run, person)
    items = dataset.sequences.history(row)
    history = [model.catalog.item_id(item) for item in items.tolist()]
    personal = run.config.response.mode != "off"
    offsets = run.store.read(np.array([row])).offsets_BS if personal else None
    window = run.config.evaluation.window
    frame = model.recommend([history], k, offsets_BS=offsets, exclude_seen=not seen, window=window)
    kind = "personal" if personal else "global"
    title = f"person {dataset.people[row]} after {len(items)} events ({kind} model)"
    console.print(
        "most recent: " + " · ".join(model.catalog.title(item) for item in items[-5:].tolist()),
        highlight=False,
        soft_wrap=True,
    )
    console.print(_table(frame, title))


def _person(run: Run, person: str) -> int:
    try:
        return run.bench.dataset.person(person)
    except PfsrError:
        if not isinstance(_number(person), int):
            raise
        return run.bench.dataset.person(_number(person))


def _number(text: str) -> str | int:
    try:
        return int(text)
    except ValueError:
        return text


def _table(frame: pl.DataFrame, title: str) -> Table:
    table = Table(title=title, title_justify="left")
    for name in ("rank", "item_id", "title", "score"):
        table.add_column(name, justify="right" if name in ("rank", "score") else "left")
    for row in frame.iter_rows(named=True):
        table.add_row(str(row["rank"]), str(row["item_id"]), row["title"], f"{row['score']:.3f}")
    return table
