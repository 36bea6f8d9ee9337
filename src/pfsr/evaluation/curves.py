"""Figures with lines: the training loss, the validation metric, and hits against the cutoff."""

from typing import Any

import numpy as np
from matplotlib.figure import Figure

from pfsr.evaluation.drawing import FAINT, INK, Drawing, colour, label_lines, panel
from pfsr.evaluation.result import Evaluation


def loss(rounds: list[dict[str, Any]]) -> Drawing:
    """Draw the training loss of each round, and its running mean where there are many."""
    figure, axes = panel()
    x = np.array([one["round"] for one in rounds])
    y = np.array([one["loss"] for one in rounds])
    width = max(1, len(y) // 40)
    smooth = np.convolve(y, np.ones(width) / width, mode="valid")
    axes.plot(x, y, color=FAINT, linewidth=0.8)
    axes.plot(x[width - 1 :], smooth, color=INK)
    axes.set(xlabel="round", ylabel="training loss, nats per event")
    axes.margins(x=0.01)
    note = f"; dark: mean of the last {width} rounds" if width > 1 else ""
    return Drawing("loss", f"Training loss of each round’s clients{note}.", figure)


def validation(looks: list[dict[str, Any]], x: list[float], label: str) -> Figure:
    """Draw validation NDCG@10 of the global and, where known, the personal model against ``x``."""
    figure, axes = panel()
    names = []
    for name, key in (("global", "validation"), ("personal", "validation_personal")):
        points = [(at, one[key]["NDCG@10"]) for at, one in zip(x, looks, strict=True) if key in one]
        if points:
            axes.plot(*zip(*points, strict=True), color=colour(name), marker="o", markersize=3, clip_on=False)
            names.append(name)
    axes.set(xlabel=label, ylabel="validation NDCG@10", xlim=(0, x[-1]))
    axes.set_ylim(bottom=0)
    label_lines(axes, names)
    return figure


def hits_by_cutoff(methods: list[Evaluation]) -> Figure:
    """Draw the share of people whose target is among the first k, for k up to 100."""
    figure, axes = panel()
    cutoffs = np.arange(1, 101)
    for one in methods:
        share = np.searchsorted(np.sort(one.ranks), cutoffs, side="right") / len(one)
        axes.plot(cutoffs, share, color=colour(one.name), linestyle=STYLES.get(one.name, "-"))
    axes.set_xscale("log")
    axes.set_xticks([1, 2, 5, 10, 20, 50, 100], ["1", "2", "5", "10", "20", "50", "100"])
    axes.minorticks_off()
    axes.set(xlabel="k (items shown)", ylabel="HR@k", xlim=(1, 100))
    axes.set_ylim(bottom=0)
    label_lines(axes, [one.name for one in methods])
    return figure


STYLES = {"popularity": ":", "markov": "--"}
