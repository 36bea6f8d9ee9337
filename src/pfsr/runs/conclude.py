"""What a finished run leaves to read: evaluations per person, a table, a report."""

from collections.abc import Callable, Iterable
from pathlib import Path

from rich.markup import escape
from rich.table import Table

from pfsr.errors import PfsrError
from pfsr.evaluation.evaluate import Evaluation
from pfsr.evaluation.intervals import metric_intervals, paired_gain
from pfsr.evaluation.report import ReportContent, write_report
from pfsr.model.bundle import open_bundle
from pfsr.runs.folder import RunFolder, read_json
from pfsr.runs.judging import judge, scorers
from pfsr.runs.rounds_log import read_metrics
from pfsr.runs.train import IN_MEMORY, Run

PARTS = ("validation", "test")
COLUMNS = ("HR@10", "NDCG@10", "NLL")


def evaluate_run(
    run: Run, parts: Iterable[str] = PARTS, told: Callable[[str], None] = lambda _: None
) -> dict[str, list[Evaluation]]:
    """Judge the run's model, global and personal, beside two rules; keep ranks per person in the folder.

    Args:
        run: a trained run.
        parts: ``validation``, ``test`` or both.
        told: is told what is being judged.

    Raises:
        PfsrError: the run has no model yet, or there is no such part.
    """
    model = open_bundle(run.folder.best)
    results: dict[str, list[Evaluation]] = {}
    for part in parts:
        if part not in PARTS:
            raise PfsrError(f"part {part!r} is unknown; use {' or '.join(map(repr, PARTS))}")
        results[part] = []
        for scorer in scorers(run.bench, model, run.store, run.config):
            told(f"{part}: {scorer.name}")
            found = judge(run.bench, scorer, getattr(run.bench.split, part))
            found.save(run.folder.evaluation / f"{part}-{scorer.name}.npz")
            results[part].append(found)
    return results


def report_run(folder: RunFolder, results: dict[str, list[Evaluation]]) -> Path:
    """Write the run's ``report.html`` and return where it lies."""
    config, facts = read_json(folder.config), read_json(folder.facts)
    command = "" if config["data"]["source"] == IN_MEMORY else f"pfsr train {folder.config} --out again"
    title = config["name"] + (" (synthetic data: proves the plumbing)" if facts["synthetic"] else "")
    content = ReportContent(title, config, facts, read_metrics(folder), results, command)
    write_report(folder.report, content)
    return folder.report


def results_table(evaluations: list[Evaluation], title: str) -> Table:
    """Return a table of methods with 95 % intervals, and the personal model's gain over the global one."""
    table = Table(title=escape(title), title_justify="left", caption_justify="left")
    table.add_column("method")
    for name in COLUMNS:
        table.add_column(name, justify="right")
    for one in evaluations:
        intervals = metric_intervals(one)
        cells = (
            f"{intervals[c].mean:.4f} [dim]{intervals[c].low:.4f}-{intervals[c].high:.4f}[/]" for c in COLUMNS
        )
        table.add_row(one.name, *cells)
    by_name = {one.name: one for one in evaluations}
    if "personal" in by_name:
        gain = paired_gain(by_name["personal"], by_name["global"])
        cells = (
            f"{gain[c].mean:+.4f} [dim]{gain[c].low:+.4f}..{gain[c].high:+.4f}[/]" if c in gain else ""
            for c in COLUMNS
        )
        table.add_section()
        table.add_row("personal gain", *cells)
    table.caption = (
        f"{len(evaluations[0])} people, whole catalogue ranked, seen items left out, 95 % intervals"
    )
    return table
