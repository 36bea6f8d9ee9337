"""What a comparison leaves to read: ``results.md`` and ``report.html``."""

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from pfsr.comparison.learning import curves
from pfsr.comparison.plan import Comparison
from pfsr.comparison.rates import rates_table
from pfsr.comparison.signal_section import HEADING, READING, SignalSection, signal_section
from pfsr.comparison.standing import Standing, best_rival, standings
from pfsr.comparison.tables import markdown, methods_table, slices_table
from pfsr.evaluation.files import replace_file
from pfsr.evaluation.page import write_page
from pfsr.evaluation.tables import Table

if TYPE_CHECKING:
    from pfsr.evaluation.drawing import Drawing

RATES = (
    "Validation NDCG@10 at factors of each method's own server rate, mean over the seeds. The strong one is "
    "the highest over the seeds that all rates begun so far have, and the one that all else here shows; "
    "where it is the lowest or the highest of those tried, a better one may lie beyond."
)
FEW = 30
"""People below which a percentile bootstrap is too sure of itself."""
SLICING = (
    "History is the number of events before the target. Cold people have at most one training event; cold "
    "items occur in nobody's training events. Tied targets share their time with the event before: the order "
    "inside such a tie is the source file's, so trust the others."
)


class Left(NamedTuple):
    """A cell without a result: what it is called, and how it stands or why it failed."""

    label: str
    status: str


class _Found(NamedTuple):
    best: Comparison
    ranked: list[Standing]
    signal: SignalSection | None
    rates: Table | None
    unfinished: list[Left]


def conclude(comparison: Comparison, unfinished: list[Left]) -> list[Standing]:
    """Write both files from the cells that are done; return how the methods stand.

    Raises:
        PfsrError: jinja2 is missing; ``results.md`` is written all the same.
    """
    found = _find(comparison, unfinished)
    ranked, signal = found.ranked, found.signal
    replace_file(results_path(comparison), _results(comparison, found).encode())
    write_page(
        report_path(comparison), "comparison.html", _drawings(found.best, ranked),
        {
            "title": _title(comparison),
            "summary": _summary(comparison),
            "unfinished": unfinished,
            "cells": len(comparison.cells),
            "methods": methods_table(ranked) if ranked else None,
            "reading": _reading(ranked),
            "rates": found.rates,
            "rates_reading": RATES,
            "slices": slices_table(ranked) if ranked else None,
            "slicing": SLICING,
            "signal": signal,
            "signal_heading": HEADING,
            "signal_reading": READING,
            "about": [(method.name, method.about) for method in comparison.methods],
            "command": comparison.command,
        },
    )  # fmt: skip
    return ranked


def results_path(comparison: Comparison) -> Path:
    """Return where the Markdown lies."""
    return comparison.out / "results.md"


def report_path(comparison: Comparison) -> Path:
    """Return where the page lies."""
    return comparison.out / "report.html"


def _find(comparison: Comparison, unfinished: list[Left]) -> _Found:
    """Gather what there is to tell, of one and the same choice of rates."""
    best = comparison.at_best_rates()
    return _Found(best, standings(best), signal_section(best), rates_table(comparison.cells), unfinished)


def _results(comparison: Comparison, found: _Found) -> str:
    _, ranked, signal, rates, unfinished = found
    parts = [f"# {_title(comparison)}", f"    {comparison.command}", _summary(comparison)]
    if unfinished:
        parts.append(f"**{len(unfinished)} of {len(comparison.cells)} cells are unfinished** (listed below).")
    if ranked:
        parts += [markdown(methods_table(ranked)), _reading(ranked)]
    if rates:
        parts += ["## Rates tried", markdown(rates), RATES]
    if ranked:
        parts += ["## Who is served how well", markdown(slices_table(ranked)), SLICING]
    if signal:
        parts += [f"## {HEADING}", READING, markdown(signal.table), f"**{signal.claim}**"]
        parts += [signal.missing] if signal.missing else []
    parts += ["## Methods", "\n".join(f"- {one.name}: {one.about}" for one in comparison.methods)]
    if unfinished:
        parts += ["## Unfinished cells", "\n".join(f"- {one.label}: {one.status}" for one in unfinished)]
    return "\n\n".join(parts) + "\n"


def _title(comparison: Comparison) -> str:
    proof = " (synthetic data: proves the plumbing)" if comparison.facts["synthetic"] else ""
    return f"{comparison.config.name}: methods compared{proof}"


def _summary(comparison: Comparison) -> str:
    facts, seeds = comparison.facts, ", ".join(map(str, comparison.seeds))
    return (
        f"{facts['data']}: {facts['people']:,} people, {facts['items']:,} items, {facts['events']:,} events; "
        f"{facts['split']} split {facts['split_hash']}; seeds {seeds}."
    )


def _reading(ranked: list[Standing]) -> str:
    if not ranked:
        return ""
    n, rival = len(ranked[0].evaluations[0]), best_rival(ranked)
    text = (
        f"Test events of {n:,} people, each ranked against the whole catalogue, seen items left out, ties "
        "counted against the method; NLL in nats, over the items ranked. Sorted by NDCG@10. A person's "
        "metric is its mean over the seeds; 95 % intervals are a percentile bootstrap over people. Worst "
        "decile: the tenth of the people with the highest NLL under each method itself. Rate: of the server "
        "optimizer. MB up: what the "
        "average person sends during the whole training; minutes: of training, on the machine of the "
        "comparison."
    )
    if n < FEW:
        text += f" Of {n:,} people no bootstrap tells much: take intervals and bold gains as hints."
    if rival is None or len(ranked) == 1:
        return text
    return (
        f"{text} Against {rival.method.name}, the best rival on these very events: NDCG@10 paired by person, "
        "over the seeds that both have."
    )


def _drawings(comparison: Comparison, ranked: list[Standing]) -> "list[Drawing] | None":
    try:
        from pfsr.comparison.charts import draw
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] != "matplotlib":
            raise
        return None
    return draw(ranked, curves(comparison)) if ranked else []
