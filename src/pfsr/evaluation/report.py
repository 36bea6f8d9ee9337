"""Write a run as one self-contained HTML page, with its figures beside it as SVG and PDF."""

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pfsr.errors import PfsrError
from pfsr.evaluation import tables
from pfsr.evaluation.content import ReportContent
from pfsr.evaluation.intervals import Interval, bootstrap, paired_gain

if TYPE_CHECKING:
    from pfsr.evaluation.figures import Drawing

__all__ = ["ReportContent", "write_report"]

MISSING = "pip install 'pfsr[report]'"


def write_report(path: Path, content: ReportContent) -> None:
    """Write the page to ``path`` and every figure into ``figures/`` beside it, as SVG and PDF.

    Without matplotlib the page has its tables, and one line that says how to get the figures.

    Raises:
        PfsrError: jinja2 is missing.
    """
    drawings = _drawings(content)
    files = {
        f"figures/{one.name}.{kind}": one.render(kind) for one in drawings or [] for kind in ("svg", "pdf")
    }
    inline = {
        one.name: {"caption": one.caption, "svg": _inline(files[f"figures/{one.name}.svg"], one)}
        for one in drawings or []
    }
    page = _page(content, inline, drawings is None)
    for name, data in {**files, path.name: page.encode()}.items():
        _replace(path.parent / name, data)


def _drawings(content: ReportContent) -> "list[Drawing] | None":
    try:
        from pfsr.evaluation.figures import draw
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] != "matplotlib":
            raise
        return None
    return draw(content)


def _inline(svg: bytes, drawing: "Drawing") -> str:
    """Return the ``<svg>`` element alone, described, its ids made unique on a page with many figures."""
    text = svg.decode()
    text = re.sub(r"<metadata>.*?</metadata>", "", text[text.index("<svg") :], flags=re.DOTALL)
    text = re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{drawing.name}-", text)
    return text.replace("<svg", f'<svg role="img" aria-labelledby="caption-{drawing.name}"', 1)


def _page(content: ReportContent, figures: dict[str, dict[str, str]], figureless: bool) -> str:
    try:
        from jinja2 import Environment, FileSystemLoader, StrictUndefined
    except ImportError:
        raise PfsrError(f"the report needs jinja2, which is not installed: {MISSING}") from None
    loader = FileSystemLoader(Path(__file__).parent / "templates")
    environment = Environment(
        loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    missing = f"Figures need matplotlib: {MISSING}" if figureless else ""
    shown = _shown(content)
    return environment.get_template("report.html").render(
        content=content, figures=figures, missing=missing, **shown
    )


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
        "cost": tables.cost_table(content) if content.rounds else None,
        "facts": tables.facts_table(content.facts) if content.facts else None,
        "config": json.dumps(content.config, indent=2, default=str),
    }


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


def _replace(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    partial.write_bytes(data)
    partial.replace(path)
