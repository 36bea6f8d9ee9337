"""What one block computes, and how long it takes: Associative Mamba Block against SASRec's and Mamba4Rec's.

First all positions of a history at once (training): FLOPs of the matrix products counted by hand, processor
time and peak memory per token at growing lengths. "needed" counts the lower triangle of causal attention,
"done" what torch's kernel multiplies. Then one more event (serving, one person): a step of the Associative
Mamba Block against attention over a cache of keys and values, and against encoding the history again.

One thread; rivals measured in turn. Times are medians; under a rival stands its multiple of AMB (for times,
the median over turns). The slope is that of log cost per sequence over log length, from 1,000 events
(else the last length but one) to the longest: 1 is cost linear in length, 2 quadratic. For one more event it
is that of the event's own cost: 0 is constant.
"""

import json
import math
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import torch
from cyclopts import App, Parameter
from measure import Cost, Job, interleave, middle, prepare, ratio, show
from peak import peak_bytes, peak_pool
from rivals import Arm, Flops, arms, event_arms
from torch import Tensor

app = App(help=__doc__)

LENGTHS = (50, 100, 200, 500, 1000, 4000, 10000)
HISTORIES = (50, 200, 1000, 4000, 10000)
D_MODEL = 64
SLOPE_FROM = 1000

Numbers = dict[int, float]
"""By length."""


class Row(NamedTuple):
    """One block's cost at every length, its multiple of the first block's, and the slope."""

    cost: Numbers
    ratio: Numbers
    slope: float


@app.default
def main(
    lengths: Annotated[tuple[int, ...], Parameter(consume_multiple=True)] = LENGTHS,
    *,
    histories: Annotated[tuple[int, ...], Parameter(consume_multiple=True)] = HISTORIES,
    tokens: int = 10000,
    repeats: int = 7,
    json_file: Annotated[Path | None, Parameter(name="--json")] = None,
) -> None:
    """Measure.

    Parameters
    ----------
    lengths
        Events a sequence, shortest first; two at least.
    histories
        Events of the person who gets one more, shortest first; two at least.
    tokens
        Tokens in each measurement: as many sequences as make that many, one at least.
    repeats
        Measurements after the warm-up; ten times as many of one more event.
    json_file
        A file to write all numbers to.
    """
    prepare()
    torch.manual_seed(0)
    tables = _flops(lengths) | _times(lengths, tokens, repeats)
    if (found := _memory(lengths, tokens)) is not None:
        tables["forward and backward, peak bytes a token"] = found
    tables["one more event, cpu us"] = _events(histories, 10 * repeats)
    for title, rows in tables.items():
        _show(title, rows)
    if json_file is not None:
        _write(json_file, {"d_model": D_MODEL, "tokens": tokens, "repeats": repeats}, tables)


def _flops(lengths: tuple[int, ...]) -> dict[str, dict[str, Row]]:
    blocks = arms(D_MODEL)
    return {
        f"forward, kFLOP a token, {part}": _compared(
            {name: {n: getattr(arm.flops(n), part) / 1000 for n in lengths} for name, arm in blocks.items()}
        )
        for part in Flops._fields
    }


def _times(lengths: tuple[int, ...], tokens: int, repeats: int) -> dict[str, dict[str, Row]]:
    blocks, inputs = arms(D_MODEL), {n: _input(n, tokens) for n in lengths}
    found = {}
    for backward in (False, True):
        jobs = {
            name: {n: _job(arm, x_BLd, backward) for n, x_BLd in inputs.items()}
            for name, arm in blocks.items()
        }
        sizes = {n: x_BLd[..., 0].numel() for n, x_BLd in inputs.items()}
        kind = "forward and backward" if backward else "forward"
        found[f"{kind}, cpu us a token"] = _timed(jobs, repeats, sizes)
    return found


def _memory(lengths: tuple[int, ...], tokens: int) -> dict[str, Row] | None:
    pool = peak_pool()
    if pool is None:
        return None
    with pool:
        return _compared(
            {
                name: {n: pool.submit(_peak, name, n, tokens).result() for n in lengths}
                for name in arms(D_MODEL)
            }
        )


def _peak(name: str, length: int, tokens: int) -> float:
    torch.set_num_threads(1)
    x_BLd = _input(length, tokens)
    return peak_bytes(_job(arms(D_MODEL)[name], x_BLd, backward=True)) / x_BLd[..., 0].numel()


def _events(histories: tuple[int, ...], repeats: int) -> dict[str, Row]:
    made = {n: event_arms(D_MODEL, n) for n in histories}
    names = made[histories[0]]
    jobs = {name: {n: _quiet(made[n][name]) for n in histories} for name in names}
    rows = _timed(jobs, repeats, dict.fromkeys(histories, 1))
    return {name: row._replace(slope=row.slope - 1) for name, row in rows.items()}


def _input(length: int, tokens: int) -> Tensor:
    return torch.randn(max(tokens // length, 1), length, D_MODEL)


def _job(arm: Arm, x_BLd: Tensor, backward: bool) -> Job:
    def train() -> None:
        leaf_BLd = x_BLd.detach().requires_grad_()
        y_BLd = arm.encode(leaf_BLd)
        torch.autograd.grad(y_BLd, [*arm.weights, leaf_BLd], torch.ones_like(y_BLd))

    return train if backward else _quiet(lambda: arm.encode(x_BLd))


def _quiet(job: Job) -> Job:
    def run() -> None:
        with torch.no_grad():
            job()

    return run


def _timed(jobs: dict[str, dict[int, Job]], repeats: int, tokens: dict[int, int]) -> dict[str, Row]:
    """Time every block at every length in turn; costs in microseconds a token."""
    flat = {f"{name}/{n}": job for name, row in jobs.items() for n, job in row.items()}
    costs = interleave(flat, repeats)
    first = next(iter(jobs))

    def cost(name: str, n: int) -> list[Cost]:
        return costs[f"{name}/{n}"]

    rows = _compared(
        {name: {n: 1e6 * middle(cost(name, n)).cpu / size for n, size in tokens.items()} for name in jobs}
    )
    paired = {name: {n: ratio(cost(name, n), cost(first, n)).cpu for n in tokens} for name in jobs}
    return {name: row._replace(ratio=paired[name]) for name, row in rows.items()}


def _compared(costs: dict[str, Numbers]) -> dict[str, Row]:
    """Compare costs per token with the first block's."""
    first = next(iter(costs.values()))
    return {
        name: Row(row, {n: each / first[n] for n, each in row.items()}, _slope(row))
        for name, row in costs.items()
    }


def _slope(row: Numbers) -> float:
    *shorter, longest = row
    start = SLOPE_FROM if SLOPE_FROM in shorter else shorter[-1]
    return 1 + math.log(row[longest] / row[start]) / math.log(longest / start)


def _show(title: str, rows: dict[str, Row]) -> None:
    lengths = next(iter(rows.values())).cost
    body = []
    for index, (name, row) in enumerate(rows.items()):
        body.append([name, *(_short(row.cost[n]) for n in lengths), f"{row.slope:.2f}"])
        if index:
            body.append(["  / AMB", *(f"{row.ratio[n]:.2f}" for n in lengths), ""])
    show(f"One block, width {D_MODEL}: {title}", ("", *(f"L = {n:,}" for n in lengths), "slope"), body)


def _short(number: float) -> str:
    return f"{number:,.0f}" if number >= 100 else f"{number:.2f}"


def _write(path: Path, facts: dict[str, Any], tables: dict[str, dict[str, Row]]) -> None:
    found = {title: {name: row._asdict() for name, row in rows.items()} for title, rows in tables.items()}
    path.write_text(json.dumps(facts | found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    app()
