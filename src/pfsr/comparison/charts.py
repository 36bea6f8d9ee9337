"""Figures of a comparison. Needs matplotlib.

A table has more methods than colours: the best of ours, the best rival and the next best few have one each
and carry their names; the others are grey.
"""

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure

from pfsr.comparison.learning import Curve
from pfsr.comparison.standing import Standing, best_rival
from pfsr.evaluation.drawing import (
    COLOURS,
    FAINT,
    MUTED,
    STYLE,
    Drawing,
    label_lines,
    name_rows,
    panel,
    write_mean,
)

OTHERS = ("#009E73", "#CC79A7", "#E69F00", "#56B4E9")
"""Okabe-Ito, beside the two that every report uses."""


def draw(ranked: list[Standing], curves: list[Curve]) -> list[Drawing]:
    """Return every figure there are numbers for; ``ranked`` is not empty."""
    with rc_context(STYLE):
        drawings = [_by_method(ranked)]
        shown = [one for one in curves if len(one.rounds) > 1]
        if shown:
            grey = any(one.name not in _inks(ranked) for one in shown)
            text = f"Validation NDCG@10 against rounds{'; grey: the other methods' if grey else ''}."
            drawings.append(Drawing("learning-rounds", text, _lines(shown, ranked, "rounds", "round")))
        moving = [one for one in shown if one.megabytes]
        if moving:
            figure = _lines(moving, ranked, "megabytes", "traffic per person, MB (up + down)")
            text = "The same against what the average person has sent and received (1 MB is 10⁶ bytes)."
            drawings.append(Drawing("learning-traffic", text, figure))
        return drawings


def _by_method(ranked: list[Standing]) -> Drawing:
    figure, axes = panel(max(2.0, 0.9 + 0.34 * len(ranked)))
    inks = _inks(ranked)
    for row, one in enumerate(ranked):
        found, ink = one.intervals["NDCG@10"], inks.get(one.method.name, MUTED)
        axes.plot([found.low, found.high], [row, row], color=ink, linewidth=2, solid_capstyle="butt")
        face = ink if one.complete else "white"
        axes.plot(found.mean, row, "o", color=ink, markerfacecolor=face, markersize=5.5)
        write_mean(axes, row, found, ink)
    name_rows(axes, [one.method.name for one in ranked])
    axes.set(xlabel="test NDCG@10")
    axes.set_xlim(left=0)
    n = len(ranked[0].evaluations[0])
    hollow = "; hollow: some seeds are unfinished" if not all(one.complete for one in ranked) else ""
    caption = f"Test NDCG@10: mean over {n:,} people and the seeds, and its 95 % interval{hollow}."
    return Drawing("methods", caption, figure)


def _lines(curves: list[Curve], ranked: list[Standing], x: str, label: str) -> Figure:
    figure, axes = panel(3.2)
    inks = _inks(ranked)
    _grey(axes, [one for one in curves if one.name not in inks], x)
    named = [one for one in curves if one.name in inks]
    for one in named:
        axes.plot(getattr(one, x), one.ndcg, color=inks[one.name], marker="o", markersize=2.5, clip_on=False)
    axes.autoscale_view()
    axes.set(xlabel=label, ylabel="validation NDCG@10")
    axes.set_xlim(left=0)
    axes.set_ylim(bottom=0)
    label_lines(axes, [one.name for one in named])
    return figure


def _grey(axes: Axes, curves: list[Curve], x: str) -> None:
    lines = [list(zip(getattr(one, x), one.ndcg, strict=True)) for one in curves]
    axes.add_collection(LineCollection(lines, colors=FAINT, linewidths=1))


def _inks(ranked: list[Standing]) -> dict[str, str]:
    """Give colours to the trained methods that matter most, the same in every figure."""
    trained = [one for one in ranked if one.method.kind == "run"]
    ours = next((one for one in trained if one.method.ours), None)
    pair = ((ours, "personal"), (best_rival(trained), "global"))
    inks = {one.method.name: COLOURS[key] for one, key in pair if one}
    rest = [one.method.name for one in trained if one.method.name not in inks]
    return inks | dict(zip(rest, OTHERS, strict=False))
