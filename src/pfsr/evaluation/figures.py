"""Choose the report's figures: every one that the content has the numbers for. Needs matplotlib."""

import math
from collections.abc import Iterator

from matplotlib import rc_context

from pfsr.evaluation import comparisons, curves
from pfsr.evaluation.content import ReportContent
from pfsr.evaluation.drawing import STYLE, Drawing
from pfsr.evaluation.intervals import paired_differences


def draw(content: ReportContent) -> list[Drawing]:
    """Return every figure that ``content`` has the numbers for."""
    with rc_context(STYLE):
        return [*_learning(content), *_quality(content), *_personal(content)]


def _learning(content: ReportContent) -> Iterator[Drawing]:
    # A round whose whole cohort was away has no loss.
    trained = [one for one in content.rounds if one.get("loss") is not None and math.isfinite(one["loss"])]
    if len(trained) > 1:
        yield curves.loss(trained)
    looks = [index for index, one in enumerate(content.rounds) if "validation" in one]
    if len(looks) < 2:
        return
    shown = [content.rounds[index] for index in looks]
    figure = curves.validation(shown, [one["round"] for one in shown], "round")
    yield Drawing("validation-rounds", "NDCG@10 of the validation events against rounds.", figure)
    moved = content.traffic()
    if moved:
        label = "traffic per person, MB (up + down)"
        figure = curves.validation(shown, [moved[index] for index in looks], label)
        caption = "The same against what the average person has sent and received so far (1 MB is 10⁶ bytes)."
        yield Drawing("validation-traffic", caption, figure)


def _quality(content: ReportContent) -> Iterator[Drawing]:
    methods = content.methods
    if not methods:
        return
    n = len(methods[0])
    caption = f"NDCG@10 by method: mean over {n:,} people and its 95 % interval."
    yield Drawing("methods", caption, comparisons.by_method(methods))
    caption = (
        "Share of people whose held-out item is among the first k of the whole catalogue, at k = 1 to 100."
    )
    yield Drawing("cutoffs", caption, curves.hits_by_cutoff(methods))
    tied = int(methods[0].tied.sum())
    if 0 < tied < n:
        caption = (
            f"HR@10 of the {tied:,} targets that share their time with the event before (hollow) and of the "
            f"other {n - tied:,} (filled). Tied events stand in file order: trust the filled marks."
        )
        yield Drawing("ties", caption, comparisons.ties(methods))


def _personal(content: ReportContent) -> Iterator[Drawing]:
    if content.learned:
        caption = "NDCG@10 by events before the target: mean and 95 % interval; n people under each group."
        yield Drawing("lengths", caption, comparisons.lengths(content.learned))
    if content.pair:
        gains = paired_differences(*content.pair)["NLL"]
        caption = (
            "How many nats likelier the personal model makes each person’s held-out item. "
            "The 1 % of people with the largest differences lie beyond the axis."
        )
        yield Drawing("gain-people", caption, comparisons.gain_by_person(gains))
        caption = "NLL gain of personal over global by slice: mean and 95 % interval."
        yield Drawing("gain-slices", caption, comparisons.gain_by_slice(content.pair[1], gains))
