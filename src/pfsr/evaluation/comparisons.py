"""Figures with dots and bars: methods, slices, and the gain of personal over global."""

import numpy as np
from matplotlib.figure import Figure

from pfsr.evaluation.drawing import COLOURS, INK, MUTED, colour, dot, name_rows, panel, write_mean
from pfsr.evaluation.intervals import bootstrap
from pfsr.evaluation.result import Evaluation


def by_method(methods: list[Evaluation]) -> Figure:
    """Draw NDCG@10 of each method with its interval."""
    figure, axes = panel(max(2.9, 0.9 + 0.42 * len(methods)))
    for row, one in enumerate(methods):
        write_mean(axes, row, dot(axes, row, one.per_person()["NDCG@10"], colour(one.name)), colour(one.name))
    name_rows(axes, [one.name for one in methods])
    axes.set(xlabel="NDCG@10")
    axes.set_xlim(left=0)
    return figure


def ties(methods: list[Evaluation]) -> Figure:
    """Draw HR@10 of targets tied in time with the event before (hollow) and of the others (filled)."""
    figure, axes = panel(max(2.9, 0.9 + 0.42 * len(methods)))
    for row, one in enumerate(methods):
        hits = one.per_person()["HR@10"]
        dot(axes, row - 0.13, hits[~one.tied], colour(one.name))
        dot(axes, row + 0.13, hits[one.tied], colour(one.name), face="white")
    name_rows(axes, [one.name for one in methods])
    axes.set(xlabel="HR@10   (filled: not tied; hollow: tied in time)")
    axes.set_xlim(left=0)
    return figure


def lengths(shown: list[Evaluation]) -> Figure:
    """Draw NDCG@10 of each method by history length."""
    figure, axes = panel()
    slices = {k: v for k, v in shown[0].shared_members().items() if k.startswith("history")}
    for index, one in enumerate(shown):
        shift, ink = 0.11 * (2 * index - len(shown) + 1), colour(one.name)
        for at, members in enumerate(slices.values()):
            found = bootstrap(one.per_person()["NDCG@10"][members])
            axes.plot([at + shift] * 2, [found.low, found.high], color=ink, linewidth=2)
            axes.plot(at + shift, found.mean, "o", color=ink, markersize=5.5)
        axes.text(
            1, 1 + 0.07 * index, one.name, color=ink, transform=axes.transAxes, ha="right", weight="bold"
        )
    ticks = [f"{name.removeprefix('history ')}\nn = {v.sum():,}" for name, v in slices.items()]
    axes.set_xticks(range(len(ticks)), ticks)
    axes.set(xlabel="events before the target", ylabel="NDCG@10", xlim=(-0.5, len(ticks) - 0.5))
    axes.set_ylim(0, 1.08 * axes.get_ylim()[1])
    axes.grid(visible=False, axis="x")
    return figure


def gain_by_person(gains: np.ndarray) -> Figure:
    """Draw the distribution of the NLL gain over people (float [n], nats)."""
    figure, axes = panel()
    reach = max(float(np.quantile(np.abs(gains), 0.99)), 1e-6)
    edges = np.linspace(-reach, reach, 61)
    counts, _ = np.histogram(gains, edges)
    colours = [COLOURS["personal"] if right > 1e-12 else COLOURS["global"] for right in edges[1:]]
    axes.bar(edges[:-1], counts, width=edges[1] - edges[0], align="edge", color=colours)
    axes.set_ylim(top=1.14 * max(counts.max(), 1))
    mean = float(gains.mean())
    axes.axvline(mean, color=INK, linewidth=1)
    left = mean > reach / 2
    axes.annotate(
        f"mean {mean:+.3f}", (mean, 1), (-4 if left else 4, 0), xycoords=("data", "axes fraction"),
        textcoords="offset points", va="top", ha="right" if left else "left",
    )  # fmt: skip
    for share, at, name in (((gains < 0).mean(), 0.02, "global"), ((gains > 0).mean(), 0.98, "personal")):
        text = f"{share:.0%}\n{name} better"
        side = "left" if name == "global" else "right"
        axes.text(at, 0.7, text, color=COLOURS[name], transform=axes.transAxes, ha=side, weight="bold")
    axes.grid(visible=False, axis="x")
    axes.set(xlabel="NLL gain of personal over global, nats", ylabel="people")
    return figure


def gain_by_slice(shared: Evaluation, gains: np.ndarray) -> Figure:
    """Draw the mean NLL gain (of float [n], nats) and its interval for everybody and each slice."""
    slices = {"everybody": shared.people >= 0, **shared.shared_members()}
    figure, axes = panel(0.7 + 0.31 * len(slices))
    axes.axvline(0, color=MUTED, linewidth=0.8)
    for row, members in enumerate(slices.values()):
        write_mean(axes, row, dot(axes, row, gains[members], COLOURS["personal"]), COLOURS["personal"])
    name_rows(axes, [f"{name}  (n = {members.sum():,})" for name, members in slices.items()])
    axes.set(xlabel="NLL gain, nats (right: personal better)")
    return figure
