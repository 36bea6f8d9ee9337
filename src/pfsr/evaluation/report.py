"""Write a run as one self-contained HTML page, with its figures beside it as SVG and PDF."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pfsr.evaluation import tables
from pfsr.evaluation.content import ReportContent
from pfsr.evaluation.intervals import Interval, bootstrap, paired_gain
from pfsr.evaluation.page import write_page

if TYPE_CHECKING:
    from pfsr.evaluation.figures import Drawing

__all__ = ["ReportContent", "write_report"]


def write_report(path: Path, content: ReportContent) -> None:
    """Write the page to ``path`` and every figure into ``figures/`` beside it, as SVG and PDF.

    Without matplotlib the page has its tables, and one line that says how to get the figures.

    Raises:
        PfsrError: jinja2 is missing.
    """
    write_page(path, "report.html", _drawings(content), {"content": content} | _shown(content))


def _drawings(content: ReportContent) -> "list[Drawing] | None":
    try:
        from pfsr.evaluation.figures import draw
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] != "matplotlib":
            raise
        return None
    return draw(content)


def _shown(content: ReportContent) -> dict[str, Any]:
    """Everything the template lays out, each part None or empty where its numbers are missing."""
    return {
        "summary": _summary(content.facts),
        "cards": _cards(content),
        "methods": {
            part: tables.methods_table(found) for part, found in content.evaluations.items() if found
        },
        "slices": tables.slices_table(content.learned or content.methods) if content.methods else None,
        "gains": tables.gain_table(*content.pair) if content.pair else None,
        "cost": _lines(tables.cost_table(content)) if content.rounds else None,
        "facts": _lines(tables.facts_table(content.facts)) if content.facts else None,
        "config": json.dumps(content.config, indent=2, default=str),
    }


def _lines(table: tables.Table) -> list[tuple[str, str]]:
    return [(row[0].text, row[1].text) for row in table.rows]


def _summary(facts: dict[str, Any]) -> str:
    named = [f"{facts[name]:,} {name}" for name in ("people", "items", "events") if name in facts]
    extra = [str(facts[name]) for name in ("data", "split") if name in facts]
    return " · ".join(extra + named)


def _cards(content: ReportContent) -> list[dict[str, str]]:
    """The numbers to remember: how good, how much personal, at what cost."""
    cards = []
    if content.best:
        values = content.best.per_person()
        cards += [
            _card(f"{content.part} {name}, {content.best.name}", bootstrap(values[name]), "")
            for name in ("NDCG@10", "HR@10")
        ]
    if content.pair:
        gain = paired_gain(*content.pair)["NLL"]
        cards.append(_card("personal gain, nats of NLL", gain, "+"))
    if content.traffic():
        moved = tables.size(1e6 * content.traffic()[-1])
        rounds = f"over {len(content.rounds):,} rounds, up and down"
        cards.append({"label": "traffic per person", "value": moved, "detail": rounds})
    return cards


def _card(label: str, found: Interval, sign: str) -> dict[str, str]:
    detail = f"95 % interval {found.low:{sign}.4f} to {found.high:{sign}.4f}"
    return {"label": label, "value": f"{found.mean:{sign}.4f}", "detail": detail}
