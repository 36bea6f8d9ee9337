"""Personalized signal against a computation by hand, on cells whose ranks and losses are written here."""

import json

import numpy as np
import pytest

from pfsr.comparison.cell import CellResult, Cost, evaluation_file, result_file
from pfsr.comparison.conclude import conclude
from pfsr.comparison.signal import signals
from pfsr.comparison.signal_section import HEADING, signal_section
from pfsr.comparison.work import make_cell
from pfsr.evaluation.intervals import bootstrap
from pfsr.evaluation.result import Evaluation
from pfsr.runs.folder import write_json
from pfsr.runs.judging import some_of
from pfsr.runs.rounds_log import read_metrics
from pfsr.runs.train import open_finished
from pfsr.runs.watcher import Quiet

PEOPLE = 30
SPREAD = np.linspace(-0.4, 0.4, PEOPLE)
NAMES = ("pfsr-no-response", "pfsr", "pfsr-no-magnitude", "pfsr-scrambled")


def evaluation(nll, rank=12):
    people, none = np.arange(PEOPLE), np.zeros(PEOPLE, dtype=bool)
    return Evaluation("x", people, np.full(PEOPLE, rank), nll, np.full(PEOPLE, 7), none, none, none)


def line(round_, *losses):
    looks = zip(("validation", "validation_personal"), losses, strict=False)
    moved = {"round": round_, "bytes_up": 8, "bytes_down": 8}
    return moved | {name: {"NLL": loss, "NDCG@10": 0.1} for name, loss in looks}


def write(cell, test, validation=None, look=None, rounds=0):
    """Write a finished cell: scorer -> losses of each part, and the gain of the last look while training."""
    parts = {"test": test, "validation": validation or test}
    for part, scorers in parts.items():
        for name, nll in scorers.items():
            # Rank 1 counts 1 and rank 12 nothing: whoever's loss is below 1 has a hit.
            found = evaluation(nll)
            found.ranks[nll < 1] = 1
            found.save(evaluation_file(cell.folder, part, name))
    cell.folder.metrics.write_text("".join(f"{json.dumps(line(one + 1))}\n" for one in range(rounds)))
    if look is not None:
        lines = [line(1, 9.0, 9.5), line(2), line(3, 5.0, 5.0 - look)]
        cell.folder.metrics.write_text("".join(f"{json.dumps(one)}\n" for one in lines))
    metrics = {part: {name: {} for name in scorers} for part, scorers in parts.items()}
    own = "personal" if "personal" in test else "global"
    result = CellResult(wanted=cell.wanted, own=own, metrics=metrics, cost=Cost(rounds=rounds))
    write_json(cell.folder.facts, {})
    write_json(result_file(cell.folder), result.model_dump())


def cells_of(comparison):
    return {(cell.method.name, cell.wanted.seed): cell for cell in comparison.cells}


@pytest.fixture
def two_seeds(planned):
    """Return a comparison with two seeds; the second of pfsr-no-magnitude is not finished."""
    comparison = planned(*NAMES, seeds=(0, 1))
    cells = cells_of(comparison)
    for seed in (0, 1):
        write(cells["pfsr-no-response", seed], {"global": 2.0 + seed + SPREAD})
        losses = {"global": 2.1 + seed + SPREAD, "personal": 1.4 + seed + 0.5 * SPREAD}
        held = {"global": np.full(PEOPLE, 3.0), "personal": 2.5 + 0.1 * SPREAD}
        write(cells["pfsr", seed], losses, held, look=0.3 + 0.1 * seed)
        write(cells["pfsr-scrambled", seed], {"personal": 2.2 + seed + SPREAD})
    none = {"global": 3.0 + SPREAD, "personal": 3.0 + SPREAD[::-1]}
    losses = {"global": 2.0 + SPREAD, "personal": 1.8 + SPREAD - 0.1 * SPREAD**2}
    write(cells["pfsr-no-magnitude", 0], losses, none, look=0.2)
    return comparison


def test_the_gain_is_against_the_separately_trained_model_of_the_same_seed(two_seeds):
    found = {one.method: one for one in signals(two_seeds)}
    assert list(found) == ["pfsr", "pfsr-no-magnitude", "pfsr-scrambled"]
    ours = found["pfsr"]
    assert ours.gain.keys() == {0, 1}
    assert np.allclose(ours.gain[0], 0.6 + 0.5 * SPREAD)
    assert np.allclose(ours.gain[1], 0.6 + 0.5 * SPREAD)
    assert np.allclose(ours.own_gain[1], 0.7 + 0.5 * SPREAD)
    lone = found["pfsr-no-magnitude"]
    assert (list(lone.gain), lone.wanted) == ([0], 2)


def test_a_hit_more_is_a_gain_of_ndcg(planned):
    comparison = planned("pfsr-no-response", "fedper")
    cells = cells_of(comparison)
    write(cells["pfsr-no-response", 0], {"global": np.where(SPREAD > 0.3, 0.5, 2.0)})
    write(cells["fedper", 0], {"global": SPREAD + 2, "personal": np.where(SPREAD < 0, 0.5, 2.0)})
    (found,) = signals(comparison)
    assert np.array_equal(found.ndcg_gain[0], np.where(SPREAD < 0, 1.0, np.where(SPREAD > 0.3, -1.0, 0.0)))


def beside_the_reference(planned, name):
    """Return a comparison of one method: .4 nats better than the reference, .3 than its own global model."""
    comparison = planned("pfsr-no-response", name)
    cells = cells_of(comparison)
    write(cells["pfsr-no-response", 0], {"global": 2.0 + SPREAD})
    write(cells[name, 0], {"global": 1.9 + SPREAD, "personal": 1.6 + SPREAD})
    return comparison


@pytest.mark.parametrize("other", ["pfsr-flipped", "pfsr-1bit"])
def test_another_encoder_or_budget_has_a_gain_over_its_own_global_model_alone(planned, other):
    comparison = beside_the_reference(planned, other)
    (found,) = signals(comparison)
    assert (found.method, found.seeds, found.gain, found.ndcg_gain) == (other, 1, {}, {})
    assert np.allclose(found.own_gain[0], 0.3)
    row = [cell.text for cell in signal_section(comparison).table.rows[0]]
    assert row == [other, "1", "–", "+0.3000", "–", "–"]


@pytest.mark.parametrize(
    ("settings", "rounds"),
    [
        ("federated]\nlocal_steps = 3", 3),
        ('objective]\nseen = "kept"', 3),
        ("evaluation]\nwindow = 2", 3),
        ("response]\nrate = 0.1", 2),
    ],
)
def test_more_steps_another_loss_or_window_or_fewer_rounds_are_no_persons_doing(
    planned, own_method, settings, rounds
):
    mine = own_method("mine", f'about = "x"\nkind = "run"\n[settings.{settings}')
    comparison = planned("pfsr-no-response", str(mine))
    cells = cells_of(comparison)
    write(cells["pfsr-no-response", 0], {"global": 2.0 + SPREAD}, rounds=3)
    write(cells["mine", 0], {"global": 1.9 + SPREAD, "personal": 1.6 + SPREAD}, rounds=rounds)
    (found,) = signals(comparison)
    assert found.gain == {}
    assert np.allclose(found.own_gain[0], 0.3)


def test_what_learnt_from_nobody_has_no_personal_part_of_a_global_model(planned):
    comparison = planned("pfsr-no-response", "local-only")
    cells = cells_of(comparison)
    write(cells["pfsr-no-response", 0], {"global": 2.0 + SPREAD})
    write(cells["local-only", 0], {"personal": 1.6 + SPREAD})
    (found,) = signals(comparison)
    assert (found.gain, found.own_gain, found.ndcg_gain) == ({}, {}, {})


@pytest.mark.parametrize("rival", ["pfedrec", "fedper", "fedrep"])
def test_a_rival_with_private_parameters_elsewhere_on_the_same_encoder_has_one(planned, rival):
    (found,) = signals(beside_the_reference(planned, rival))
    assert np.allclose(found.gain[0], 0.4)


def test_the_control_is_set_against_the_global_model_of_the_run_below(two_seeds):
    scrambled = signals(two_seeds)[-1]
    assert np.allclose(scrambled.own_gain[0], -0.1)
    assert np.allclose(scrambled.gain[1], -0.2)
    assert scrambled.retention is None


def test_retention_is_the_last_look_over_the_final_gain_where_that_is_above_0(two_seeds):
    ours, lone, _ = signals(two_seeds)
    assert ours.retention == pytest.approx(np.mean([0.3, 0.4]) / np.mean(0.5 - 0.1 * SPREAD))
    # The final gain of pfsr-no-magnitude is 0 in the mean.
    assert lone.retention is None


def test_the_section_shows_what_was_found_and_names_what_is_missing(two_seeds):
    section = signal_section(two_seeds)
    ours, lone, scrambled = section.table.rows
    assert [cell.text for cell in ours] == ["pfsr", "2", "+0.6000", "+0.7000", "+0.0000", "0.70"]
    interval = bootstrap(0.6 + 0.5 * SPREAD)
    assert ours[2].small == f"{interval.low:+.4f} to {interval.high:+.4f}"
    assert [cell.text for cell in lone[:2]] == ["pfsr-no-magnitude", "1 of 2"]
    assert scrambled[5].text == "–"
    assert section.missing.endswith("not finished: pfsr-prox, pfsr-hard, fedper, fedrep, pfedrec, ditto.")
    # Seed 0 alone has both: .6 over .2 and the mean of .1 SPREAD^2.
    ratio = 0.6 / (0.2 + 0.1 * (SPREAD**2).mean())
    assert f"mean PG(pfsr) / mean PG(pfsr-no-magnitude): {ratio:.2f} (" in section.claim
    assert "1 seed): claim of +30 % held." in section.claim


def test_the_section_is_in_both_files(two_seeds):
    conclude(two_seeds, [])
    section = signal_section(two_seeds)
    for name in ("results.md", "report.html"):
        text = (two_seeds.out / name).read_text()
        assert text.count(HEADING) == 1
        assert section.claim in text
        assert section.missing in text
    lines = (two_seeds.out / "results.md").read_text().splitlines()
    (row,) = [line for line in lines if line.startswith("| pfsr | 2 | **+0.6000**")]
    assert row.endswith("| +0.0000 (+0.0000 to +0.0000) | 0.70 |")


def test_a_gain_that_is_nothing_without_the_magnitude_loss_gives_a_difference(planned):
    comparison = planned("pfsr-no-response", "pfsr", "pfsr-no-magnitude")
    cells = cells_of(comparison)
    write(cells["pfsr-no-response", 0], {"global": np.full(PEOPLE, 3.0)})
    write(cells["pfsr", 0], {"global": np.full(PEOPLE, 3.0), "personal": 2.9 + SPREAD})
    write(cells["pfsr-no-magnitude", 0], {"global": np.full(PEOPLE, 3.0), "personal": 3.0 + SPREAD})
    claim = signal_section(comparison).claim
    assert "mean PG(pfsr) - mean PG(pfsr-no-magnitude): +0.1000 nats" in claim
    assert claim.endswith("the difference is above 0.")


def test_without_the_reference_a_run_has_its_gain_over_its_own_global_model(planned):
    comparison = planned("pfsr-no-response", "pfsr")
    write(cells_of(comparison)["pfsr", 0], {"global": np.full(PEOPLE, 2.5), "personal": 2 + SPREAD})
    (found,) = signals(comparison)
    assert found.gain == {}
    assert np.allclose(found.own_gain[0], 0.5 - SPREAD)
    assert signal_section(comparison).missing.startswith("Not in this comparison, or not finished: pfsr-no-r")
    assert "PG takes pfsr-no-response" in signal_section(comparison).missing


def test_without_anything_personal_there_is_no_section(planned):
    comparison = planned("pfsr-no-response", "pfsr")
    cells = cells_of(comparison)
    assert signal_section(comparison) is None
    write(cells["pfsr-no-response", 0], {"global": 2 + SPREAD})
    conclude(comparison, [])
    assert HEADING not in (comparison.out / "results.md").read_text()
    write(cells["pfsr", 0], {"global": 2 + SPREAD, "personal": 2 + SPREAD})
    section = signal_section(comparison)
    assert "PG takes" not in section.missing
    assert "To test it takes pfsr and pfsr-no-magnitude" in section.claim
    result_file(cells["pfsr", 0].folder).unlink()
    assert signal_section(comparison) is None


def test_a_trained_run_is_compared_on_the_people_whom_it_looked_at(planned):
    comparison = planned("pfsr-no-response", "pfsr", evaluation={"people": 30}, federated={"rounds": 20})
    for cell in comparison.cells:
        make_cell(cell.folder, cell.wanted, Quiet())
    cell = cells_of(comparison)["pfsr", 0]
    bench = open_finished(cell.folder).bench
    drawn = np.isin(cell.evaluation("validation").people, some_of(bench.split.validation, 30, 0).people)
    shared, personal = (cell.evaluation("validation", name).nll[drawn] for name in ("global", "personal"))
    look = read_metrics(cell.folder)[-1]
    # The last look was at the final global model, and at these people.
    assert drawn.sum() == 30
    assert look["validation"]["NLL"] == pytest.approx(shared.mean())
    (found,) = signals(comparison)
    kept = look["validation"]["NLL"] - look["validation_personal"]["NLL"]
    assert found.retention == pytest.approx(kept / (shared - personal).mean())
    pfsr, reference = cell.evaluation(), cells_of(comparison)["pfsr-no-response", 0].evaluation()
    assert np.allclose(found.gain[0], reference.nll - pfsr.nll)
    assert np.allclose(found.own_gain[0], cell.evaluation("test", "global").nll - pfsr.nll)
