"""``pfsr evaluate``: judge a finished run again, in more detail."""

from pathlib import Path
from typing import Literal

from rich.console import Console
from rich.table import Table

from pfsr.evaluation.evaluate import Evaluation
from pfsr.runs.conclude import evaluate_run, report_run, results_table
from pfsr.runs.folder import open_run
from pfsr.runs.train import open_finished
from pfsr.runs.watcher import say


def evaluate(run: Path, *, part: Literal["test", "validation", "both"] = "both") -> None:
    """Rank the held-out events against the whole catalogue, and rewrite the run's report.

    The split is the run's own; for the other one, train another run (--data.split time or leave-one-out):
    a model that has trained on one split's events has seen the other's answers.

    Parameters
    ----------
    run
        A run folder.
    part
        Which held-out events.
    """
    console = Console()
    opened = open_finished(open_run(run))
    parts = ("validation", "test") if part == "both" else (part,)
    with console.status("evaluating") as status:
        results = evaluate_run(opened, parts, lambda what: status.update(f"evaluating {what}"))
        report = report_run(opened.folder, results)
    split = opened.bench.split
    for name, evaluations in results.items():
        console.print(
            results_table(evaluations, f"{opened.bench.dataset.name}, {split.kind} {split.digest}, {name}")
        )
        console.print(_slices(evaluations))
    say(console, f"report   {report}")


def _slices(evaluations: list[Evaluation]) -> Table:
    table = Table(title="NDCG@10 by slice", title_justify="left")
    table.add_column("slice")
    table.add_column("people", justify="right")
    per_method = [one.slices() for one in evaluations]
    for one in evaluations:
        table.add_column(one.name, justify="right")
    for name, first in per_method[0].items():
        cells = (f"{slices[name]['NDCG@10']:.4f}" for slices in per_method)
        table.add_row(name, f"{first['n']:,.0f}", *cells)
    return table
