"""The report's numbers as tables of text, ready for the page."""

from dataclasses import dataclass
from typing import Any

from pfsr.evaluation.content import ReportContent
from pfsr.evaluation.intervals import Interval, metric_intervals, paired_gain
from pfsr.evaluation.result import Evaluation


@dataclass(frozen=True)
class Cell:
    """One entry: its text, a smaller line under it (an interval), and whether it is best."""

    text: str
    small: str = ""
    strong: bool = False


@dataclass(frozen=True)
class Table:
    """Column heads, and rows whose first cell is the row's name."""

    columns: list[str]
    rows: list[list[Cell]]


def methods_table(methods: list[Evaluation]) -> Table:
    """Return every metric of every method with its interval, the best of each column strong."""
    found = [metric_intervals(one) for one in methods]
    columns = list(found[0])
    best = {name: (min if name == "NLL" else max)(one[name].mean for one in found) for name in columns}
    rows = [
        [Cell(one.name), *(_interval(part[name], part[name].mean == best[name]) for name in columns)]
        for one, part in zip(methods, found, strict=True)
    ]
    return Table(["method", *columns], rows)


def slices_table(methods: list[Evaluation]) -> Table:
    """Return n and HR@10, NDCG@10, NLL of every method in each slice, the better one strong."""
    metrics = ("HR@10", "NDCG@10", "NLL")
    parts = [one.slices() for one in methods]
    rows = []
    for name, first in parts[0].items():
        cells = [
            cell for metric in metrics for cell in _compared([one[name][metric] for one in parts], metric)
        ]
        rows.append([Cell(name), Cell(f"{first['n']:,}"), *cells])
    return Table(["slice", "n", *(f"{metric} {one.name}" for metric in metrics for one in methods)], rows)


def gain_table(personal: Evaluation, shared: Evaluation) -> Table:
    """Return the paired gain of ``personal`` over ``shared`` with its interval, overall and by slice."""
    slices = {"everybody": shared.people >= 0, **shared.shared_members()}
    rows = []
    for name, members in slices.items():
        gain = paired_gain(personal, shared, members)
        cells = [_interval(one, one.low > 0, sign="+") for one in gain.values()]
        rows.append([Cell(name), Cell(f"{members.sum():,}"), *cells])
    return Table(["slice", "n", "NDCG@10 gain", "HR@10 gain", "NLL gain, nats"], rows)


def cost_table(content: ReportContent) -> Table:
    """Return what the training took: rounds, participations, bytes, seconds, memory."""
    rounds, facts = content.rounds, content.facts
    totals = {
        key: sum(one.get(key, 0) for one in rounds)
        for key in ("clients", "seconds", "bytes_up", "bytes_down")
    }
    lines = {"rounds": f"{len(rounds):,}", **_participation(totals, facts.get("people"))}
    if content.traffic():
        lines["traffic per person, both ways"] = size(1e6 * content.traffic()[-1])
    if totals["seconds"]:
        lines["seconds per round"] = f"{totals['seconds'] / len(rounds):.2f}"
        lines["clients per second"] = f"{totals['clients'] / totals['seconds']:,.0f}"
    if "peak_memory_bytes" in facts:
        lines["peak memory"] = size(facts["peak_memory_bytes"])
    return Table(["", ""], [[Cell(name), Cell(value)] for name, value in lines.items()])


def _participation(totals: dict[str, Any], people: int | None) -> dict[str, str]:
    clients = totals["clients"]
    lines = {"participations": f"{clients:,}"}
    if people:
        lines["participations per person"] = f"{clients / people:.1f}"
    if clients:
        for key, name in (("bytes_up", "sent"), ("bytes_down", "received")):
            lines[f"{name} per participation"] = size(totals[key] / clients)
    return lines


def facts_table(facts: dict[str, Any]) -> Table:
    """Return ``facts`` line by line; mappings inside them (versions) are joined into one line."""
    rows = [[Cell(_label(name)), Cell(_fact(name, value))] for name, value in facts.items()]
    return Table(["", ""], rows)


def size(count: float) -> str:
    """Return a number of bytes in decimal units, such as ``1.3 MB``."""
    for unit in ("B", "kB", "MB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} GB"


def duration(seconds: float) -> str:
    """Return a length of time in its two largest units, such as ``1 h 12 min``."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def _fact(name: str, value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {one}" for key, one in value.items())
    if name.endswith("_seconds"):
        return duration(value)
    if name.endswith("_bytes"):
        return size(value)
    return f"{value:,}" if isinstance(value, int) and name != "seed" else str(value)


def _label(name: str) -> str:
    """``wall_seconds`` -> wall time, ``peak_memory_bytes`` -> peak memory: the value carries the unit."""
    return name.replace("_seconds", " time").removesuffix("_bytes").replace("_", " ")


def _interval(found: Interval, strong: bool, sign: str = "") -> Cell:
    digits = f"{sign}.{3 if abs(found.mean) >= 1 else 4}f"
    between = " to " if sign else "–"
    return Cell(f"{found.mean:{digits}}", f"{found.low:{sign}.3f}{between}{found.high:{sign}.3f}", strong)


def _compared(values: list[float], metric: str) -> list[Cell]:
    best = (min if metric == "NLL" else max)(values)
    clear = values.count(best) == 1 < len(values)
    return [Cell(f"{value:.4f}", strong=clear and value == best) for value in values]
