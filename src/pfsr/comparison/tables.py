"""The comparison as tables of text, and those tables as Markdown."""

from pfsr.comparison.standing import Standing, best_rival
from pfsr.evaluation.intervals import Interval
from pfsr.evaluation.tables import Cell, Table


def methods_table(ranked: list[Standing]) -> Table:
    """Return quality and cost of every method, the best of each quality column strong."""
    rival = best_rival(ranked)
    against = f"against {rival.method.name}" if rival else "against a rival"
    quality = ["HR@10", "NDCG@10", "NLL", "worst decile, NLL"]
    columns = ["method", "trained", "seeds", *quality, against, "rounds", "rate", "MB up", "minutes"]
    best = {name: pick(one.intervals[name].mean for one in ranked) for name, pick in BEST.items()}
    best["worst decile"] = min((one.worst_decile for one in ranked), default=0.0)
    rows = [[*_who(one), *_quality(one, best), _gain(one, rival), *_cost(one)] for one in ranked]
    return Table(columns, rows)


BEST = {"HR@10": max, "NDCG@10": max, "NLL": min}


def slices_table(ranked: list[Standing]) -> Table:
    """Return NDCG@10 of every method in each slice of the data, the best of each column strong.

    The first row says how many people each slice has.
    """
    parts = [one.slices() for one in ranked]
    names = list(parts[0])
    people = [Cell("people"), *(Cell(f"{parts[0][name][0]:,}") for name in names)]
    best = {name: max(part[name][1] for part in parts) for name in names}
    rows = [
        [Cell(one.method.name)]
        + [Cell(f"{part[name][1]:.4f}", strong=part[name][1] == best[name]) for name in names]
        for one, part in zip(ranked, parts, strict=True)
    ]
    return Table(["NDCG@10", *names], [people, *rows])


def markdown(table: Table) -> str:
    """Return a table as GitHub Markdown; intervals stand in parentheses, strong entries are bold."""
    head = f"| {' | '.join(table.columns)} |"
    rule = "|---|" + "---:|" * (len(table.columns) - 1)
    return "\n".join([head, rule, *(f"| {' | '.join(map(_marked, row))} |" for row in table.rows)])


def gain_cell(found: Interval) -> Cell:
    """Return a gain with its sign and its interval, strong when even the low end shown is above 0."""
    strong = round(found.low, 4) > 0
    return Cell(f"{found.mean:+.4f}", f"{found.low:+.4f} to {found.high:+.4f}", strong)


def _marked(cell: Cell) -> str:
    text = f"**{cell.text}**" if cell.strong else cell.text
    return f"{text} ({cell.small})" if cell.small else text


def _who(one: Standing) -> list[Cell]:
    seeds = "1" if one.method.kind == "rule" else f"{len(one.results)}"
    if not one.complete:
        seeds += f" of {one.wanted} (unfinished)"
    return [Cell(one.method.name), Cell(one.trained), Cell(seeds)]


def _quality(one: Standing, best: dict[str, float]) -> list[Cell]:
    cells = [_interval(found, found.mean == best[name]) for name, found in one.intervals.items()]
    return [*cells, Cell(f"{one.worst_decile:.3f}", strong=one.worst_decile == best["worst decile"])]


def _gain(one: Standing, rival: Standing | None) -> Cell:
    found = None if rival is None or one is rival else one.gain(rival)
    return Cell("–") if found is None else gain_cell(found)


def _cost(one: Standing) -> list[Cell]:
    cost = one.cost()
    megabytes = cost["bytes_up"] / 1e6
    sent = f"{megabytes:,.{1 if megabytes > 10 else 3}f}" if megabytes else "–"
    # A run is trained and then judged; rules and copies are made while they are judged.
    spent = cost["train_seconds"] + (cost["judge_seconds"] if one.method.kind != "run" else 0.0)
    rounds = f"{cost['rounds']:,.0f}" if cost["rounds"] else "–"
    rate = "–" if one.rate is None else f"{one.rate:.4g}"
    return [Cell(rounds), Cell(rate), Cell(sent), Cell(f"{spent / 60:.1f}")]


def _interval(found: Interval, strong: bool) -> Cell:
    digits = ".3f" if abs(found.mean) >= 1 else ".4f"
    return Cell(f"{found.mean:{digits}}", f"{found.low:.3f}–{found.high:.3f}", strong)
