"""The few verbs of the Python API that a run offers: train, evaluate, recommend, report."""

from collections.abc import Hashable
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from rich.console import Console

from pfsr.data.dataset import Dataset
from pfsr.errors import PfsrError
from pfsr.model.bundle import open_bundle
from pfsr.model.recommender import Recommender
from pfsr.recipe import resolve
from pfsr.runs.conclude import evaluate_run, report_run
from pfsr.runs.folder import new_run
from pfsr.runs.folder import open_run as open_folder
from pfsr.runs.train import IN_MEMORY, Interrupted, Run, open_finished, reopen_run, start_run
from pfsr.runs.train import train as train_run
from pfsr.runs.watcher import LiveBar, tracked


class TrainedRun:
    """A run that is done: its model for anyone, its personal models for the people it was trained with."""

    def __init__(self, run: Run) -> None:
        self.run = run

    @cached_property
    def model(self) -> Recommender:
        """The global model."""
        return open_bundle(self.run.folder.best)

    def recommend(self, person: Hashable, k: int = 10, *, exclude_seen: bool = True) -> pl.DataFrame:
        """Return the ``k`` best next items for one of the run's people, by the personal model if any.

        Raises:
            PfsrError: the person is unknown.
        """
        row = self.run.bench.dataset.person(person)
        items = self.run.bench.dataset.sequences.history(row)
        history = [self.model.catalog.item_id(item) for item in items.tolist()]
        offsets = self.run.store.read(np.array([row])).offsets_BS if self.personal else None
        window = self.run.config.evaluation.window
        return self.model.recommend(
            [history], k, offsets_BS=offsets, exclude_seen=exclude_seen, window=window
        )

    @property
    def personal(self) -> bool:
        """Whether people have private offsets."""
        return self.run.config.response.mode != "off"

    def evaluate(self, part: str = "test") -> pl.DataFrame:
        """Rank the held-out events of ``part`` (``test`` or ``validation``): one row per method."""
        found = evaluate_run(self.run, (part,))[part]
        return pl.DataFrame([{"method": one.name} | one.metrics() for one in found])

    def report(self) -> Path:
        """Evaluate, write ``report.html`` into the run folder and return where it lies."""
        return report_run(self.run.folder, evaluate_run(self.run))


def train(
    data: Dataset | str | Path | None = None,
    settings: dict[str, Any] | None = None,
    *,
    out: str | Path = "runs/run",
    overwrite: bool = False,
) -> TrainedRun:
    """Train a personalized federated sequential recommender; every person is a client.

    Args:
        data: a :class:`~pfsr.data.dataset.Dataset` (see ``pfsr.load``), a file or a named source; by
            default what ``settings`` name, or else the synthetic world.
        settings: the knobs of ``pfsr.config.Config``, section by section.
        out: the run folder to make.
        overwrite: replace the run folder if there is one.

    Raises:
        PfsrError: a setting or the data is wrong, or the run folder exists.
        KeyboardInterrupt: Ctrl-C, after the round in hand; :func:`resume` goes on.
    """
    config = resolve(settings or {}, {} if data is None else {"data": _named(data)})
    dataset = data if isinstance(data, Dataset) else None
    return _finish(start_run(new_run(Path(out), overwrite), config, dataset))


def resume(folder: str | Path, data: Dataset | None = None) -> TrainedRun:
    """Go on with a run that was interrupted, bit-exactly; ``data`` as for :func:`open_run`.

    Raises:
        PfsrError: there is no run, or its data is gone or has changed.
        KeyboardInterrupt: Ctrl-C again; the run can be resumed again.
    """
    return _finish(reopen_run(open_folder(Path(folder)), data))


def _finish(run: Run) -> TrainedRun:
    with LiveBar(Console(stderr=True)) as bar:
        try:
            train_run(run, tracked(bar, run.config.track, run.folder.curves))
        except Interrupted:
            raise KeyboardInterrupt(f"stopped; go on with pfsr.resume({str(run.folder.root)!r})") from None
    return TrainedRun(run)


def _named(data: Dataset | str | Path) -> dict[str, Any]:
    if isinstance(data, str | Path):
        return {"source": str(data)}
    if not isinstance(data, Dataset):
        raise PfsrError(f"data: a {type(data).__name__}; make it a data set first with pfsr.load")
    return data.origin or {"source": IN_MEMORY}


def open_run(folder: str | Path, data: Dataset | None = None) -> TrainedRun:
    """Return a run that was trained before; ``data`` is needed when it was trained on a table in memory.

    Raises:
        PfsrError: there is no run, it is not finished, or its data is gone or has changed.
    """
    return TrainedRun(open_finished(open_folder(Path(folder)), data))
