"""The section "Personalized signal" of a comparison: its table, how to read it, and the claim it tests."""

from typing import NamedTuple

from pfsr.comparison.claim import Claim, compare_gains, verdict
from pfsr.comparison.plan import Comparison
from pfsr.comparison.signal import PERSONALIZED, REFERENCE, BySeed, Signal, mean_over, signals
from pfsr.comparison.tables import gain_cell
from pfsr.evaluation.intervals import bootstrap
from pfsr.evaluation.tables import Cell, Table

HEADING = "Personalized signal"
OURS, WITHOUT = "pfsr", "pfsr-no-magnitude"
READING = (
    "PG is what a person's private parameters are worth: the NLL of the test event, in nats, under a "
    f"separately trained global model ({REFERENCE}, same seed, equal budget; where rates were tried, at its "
    "own best one) less the NLL under the method's personal model; a person's mean over the seeds, then the"
    " mean over people with its 95 % interval; a method with another encoder, loss or budget (rounds "
    "trained), or trained on a device alone, has none. The global model is separately trained because the "
    "shared part of a personalized run leans on the private parameters: taken alone it may be worse than a "
    "global model need be, and flatter the gain (PG over own global). pfsr-scrambled serves everybody with "
    "somebody else's private offsets of pfsr: what is left of PG over own global there owes nothing to the "
    "person, so of a gain that is personal nothing is left. Retention is the share of a person's NLL gain "
    "over the run's own global model, on validation events, that is still there in the last look while "
    "training, when private parameters are as old as that person's last participation, before everybody "
    "adapts to the finished model."
)


class SignalSection(NamedTuple):
    """What the section holds.

    Attributes:
        table: one row a method.
        claim: what the comparison says about the claim.
        missing: which methods it could not show; empty: none.
    """

    table: Table
    claim: str
    missing: str


def signal_section(comparison: Comparison) -> SignalSection | None:
    """Return the section; None while there is no personalized method (with a seed of the reference's).

    Raises:
        PfsrError: what a finished cell left is damaged, or belongs to other targets.
    """
    found = signals(comparison)
    if not found:
        return None
    names = [one.method for one in found]
    apart = any(cell.method.name == REFERENCE and cell.result() for cell in comparison.cells)
    missing = [*([] if apart else [REFERENCE]), *(name for name in PERSONALIZED if name not in names)]
    told = f"Not in this comparison, or not finished: {', '.join(missing)}." if missing else ""
    told += f" PG takes {REFERENCE}." if not apart else ""
    return SignalSection(_table(found), _claim({one.method: one for one in found}), told)


def _table(found: list[Signal]) -> Table:
    columns = ["method", "seeds", "PG, nats", "PG over own global, nats", "NDCG@10 gain", "retention"]
    return Table(columns, [_row(one) for one in found])


def _row(one: Signal) -> list[Cell]:
    seeds = f"{one.seeds}" if one.seeds == one.wanted else f"{one.seeds} of {one.wanted}"
    kept = "–" if one.retention is None else f"{one.retention:.2f}"
    gains = [_gain(by_seed) for by_seed in (one.gain, one.own_gain, one.ndcg_gain)]
    return [Cell(one.method), Cell(seeds), *gains, Cell(kept)]


def _gain(by_seed: BySeed) -> Cell:
    return gain_cell(bootstrap(mean_over(by_seed))) if by_seed else Cell("–")


def _claim(found: dict[str, Signal]) -> str:
    claimed = "Claim: the Dynamic Magnitude Loss keeps at least 30 % more personalized signal."
    ours, without = (found[name].gain if name in found else {} for name in (OURS, WITHOUT))
    seeds = sorted(ours.keys() & without.keys())
    if not seeds:
        return f"{claimed} To test it takes {OURS} and {WITHOUT}, finished with the same seed."
    gain, less = (mean_over({seed: one[seed] for seed in seeds}) for one in (ours, without))
    return f"{claimed} {_tested(compare_gains(gain, less), len(seeds))}"


def _tested(claim: Claim, seeds: int) -> str:
    found, ours, without = claim.found, f"mean PG({OURS})", f"mean PG({WITHOUT})"
    how = f"paired bootstrap over people, {seeds} seed{'s' if seeds > 1 else ''}"
    if claim.kind == "ratio":
        told = f"Measured {ours} / {without}: {found.mean:.2f} ({found.low:.2f} to {found.high:.2f}; {how})"
    else:
        told = (
            f"The interval of {without} is not above 0, so there is no ratio. Measured {ours} - {without}: "
            f"{found.mean:+.4f} nats ({found.low:+.4f} to {found.high:+.4f}; {how})"
        )
    return f"{told}: {verdict(claim)}."
