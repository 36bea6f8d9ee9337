"""A template and its figures as one self-contained HTML page, the figures beside it as SVG and PDF."""

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pfsr.errors import PfsrError
from pfsr.evaluation.files import replace_file

if TYPE_CHECKING:
    from pfsr.evaluation.drawing import Drawing

MISSING = "pip install 'pfsr[report]'"


def write_page(path: Path, template: str, drawings: "list[Drawing] | None", shown: dict[str, Any]) -> None:
    """Write the page to ``path`` and every figure into ``figures/`` beside it.

    Args:
        path: the page.
        template: a file of ``evaluation/templates``; it is given ``shown``, ``figures`` (name -> caption and
            svg) and ``missing``, a line for readers when there are no figures.
        drawings: the figures; None: matplotlib is not installed.
        shown: what the template lays out.

    Raises:
        PfsrError: jinja2 is missing, or the place cannot be written.
    """
    kinds = [(one, kind) for one in drawings or [] for kind in ("svg", "pdf")]
    files = {f"figures/{one.name}.{kind}": one.render(kind) for one, kind in kinds}
    figures = {
        one.name: {"caption": one.caption, "svg": _inline(files[f"figures/{one.name}.svg"], one)}
        for one in drawings or []
    }
    missing = f"Figures need matplotlib: {MISSING}" if drawings is None else ""
    page = _render(template, {"figures": figures, "missing": missing} | shown)
    for name, data in {**files, path.name: page.encode()}.items():
        replace_file(path.parent / name, data)


def _render(template: str, shown: dict[str, Any]) -> str:
    try:
        from jinja2 import Environment, FileSystemLoader, StrictUndefined
    except ImportError:
        raise PfsrError(f"the report needs jinja2, which is not installed: {MISSING}") from None
    loader = FileSystemLoader(Path(__file__).parent / "templates")
    environment = Environment(
        loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    return environment.get_template(template).render(**shown)


def _inline(svg: bytes, drawing: "Drawing") -> str:
    """Return the ``<svg>`` element alone, described, its ids made unique on a page with many figures."""
    text = svg.decode()
    text = re.sub(r"<metadata>.*?</metadata>", "", text[text.index("<svg") :], flags=re.DOTALL)
    text = re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{drawing.name}-", text)
    return text.replace("<svg", f'<svg role="img" aria-labelledby="caption-{drawing.name}"', 1)
