"""One look for every figure: a single panel of one paper column, in vector form. Needs matplotlib.

One colour per method throughout (Okabe-Ito, safe for colour-blind readers); lines and rows carry
their names, so that no figure needs a legend.
"""

from dataclasses import dataclass
from io import BytesIO
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pfsr.evaluation.intervals import Interval, bootstrap

INK, MUTED, FAINT = "#1f2328", "#5d6670", "#d5dae0"
COLOURS = {"personal": "#0072B2", "global": "#D55E00"}
STYLE: Any = {
    "font.family": "sans-serif",
    "font.sans-serif": ["Liberation Sans", "Arial", "Helvetica", "DejaVu Sans"],
    "font.size": 9,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.labelsize": 9,
    "axes.edgecolor": MUTED,
    "axes.linewidth": 0.7,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": FAINT,
    "grid.linewidth": 0.5,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "lines.linewidth": 1.6,
    "pdf.fonttype": 42,
}


@dataclass(frozen=True)
class Drawing:
    """A finished figure.

    Attributes:
        name: file stem, and the place in the report.
        caption: one or two sentences that say what is shown, with units and n.
        figure: the matplotlib figure.
    """

    name: str
    caption: str
    figure: Figure

    def render(self, kind: str) -> bytes:
        """Return the figure as ``svg`` or ``pdf``, the same bytes every time."""
        buffer = BytesIO()
        no_date = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}[kind]
        with mpl.rc_context({**STYLE, "svg.hashsalt": self.name}):
            self.figure.savefig(buffer, format=kind, metadata=no_date)
        return buffer.getvalue()


def panel(height: float = 2.9) -> tuple[Figure, Axes]:
    """Return an empty figure 4.4 inches wide, ``height`` inches high, and its axes."""
    figure = Figure(figsize=(4.4, height), layout="constrained")
    return figure, figure.add_subplot()


def colour(name: str) -> str:
    """Return the colour of a method."""
    return COLOURS.get(name, MUTED)


def label_lines(axes: Axes, names: list[str]) -> None:
    """Write each line's name right of its end, moved apart where two would touch."""
    ends = [float(np.asarray(line.get_ydata())[-1]) for line in axes.lines]
    low, high = axes.get_ylim()
    at = -np.inf
    for index in np.argsort(ends, kind="stable"):
        at = max(ends[index], at + 0.065 * (high - low))
        text = f"{names[index]} {ends[index]:.3f}"
        axes.annotate(
            text, (1, at), (4, 0), xycoords=("axes fraction", "data"), textcoords="offset points",
            va="center", color=axes.lines[index].get_color(), weight="bold",
        )  # fmt: skip


def name_rows(axes: Axes, names: list[str]) -> None:
    """Turn the y axis into one named row per entry, the first on top."""
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.grid(visible=False, axis="y")


def dot(axes: Axes, row: float, values: np.ndarray, ink: str, face: str | None = None) -> Interval:
    """Draw the mean of ``values`` with its 95 % interval on ``row``, and return it."""
    found = bootstrap(values)
    axes.plot([found.low, found.high], [row, row], color=ink, linewidth=2, solid_capstyle="butt")
    axes.plot(found.mean, row, "o", color=ink, markerfacecolor=face or ink, markersize=5.5)
    return found


def write_mean(axes: Axes, row: float, found: Interval, ink: str) -> None:
    """Write the mean above its dot."""
    axes.annotate(
        f"{found.mean:.3f}",
        (found.mean, row),
        (0, 5),
        textcoords="offset points",
        ha="center",
        color=ink,
        size=8,
    )
