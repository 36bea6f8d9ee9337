"""What the tables say, against formulas of its own."""

import numpy as np
import pytest

from pfsr.comparison.cell import CellResult, Cost, Wanted, made_of
from pfsr.comparison.method import find_method
from pfsr.comparison.standing import Standing, best_rival
from pfsr.comparison.tables import gain_cell, markdown, methods_table, slices_table
from pfsr.evaluation.intervals import Interval
from pfsr.evaluation.result import Evaluation
from pfsr.evaluation.tables import Cell, Table

PEOPLE = 200


def evaluation(seed, shift):
    random = np.random.default_rng(seed)
    ranks = random.integers(1, 40, PEOPLE) + shift
    lengths = np.arange(PEOPLE) % 60 + 1
    tied = np.arange(PEOPLE) % 4 == 0
    cold = lengths < 2
    return Evaluation("personal", np.arange(PEOPLE), ranks, ranks / 10, lengths, tied, cold, cold)


def standing(name, shift, seeds=(0, 1), wanted=2):
    method = find_method(name)
    made = [Wanted(method=name, seed=seed, made_of=made_of(method, {}, seed), split="x") for seed in seeds]
    results = [
        CellResult(
            wanted=one, own="personal", metrics={}, cost=Cost(rounds=10, bytes_up=2e7, train_seconds=90.0)
        )
        for one in made
    ]
    return Standing(method, wanted, results, [evaluation(seed, shift) for seed in seeds])


@pytest.fixture(scope="module")
def ranked():
    return [standing("pfsr", 0), standing("amb-fedadam", 3), standing("markov", 9, seeds=(0,), wanted=1)]


def test_a_person_counts_once_with_the_mean_over_seeds(ranked):
    ranks = np.stack([one.ranks for one in ranked[0].evaluations])
    ndcg = np.where(ranks <= 10, 1 / np.log2(1.0 + ranks), 0.0).mean(axis=0)
    assert np.allclose(ranked[0].per_person["NDCG@10"], ndcg)
    found = ranked[0].intervals["NDCG@10"]
    spread = ndcg.std() / np.sqrt(PEOPLE)
    assert found.mean == pytest.approx(ndcg.mean())
    assert found.low == pytest.approx(ndcg.mean() - 1.96 * spread, abs=spread / 3)
    assert found.high == pytest.approx(ndcg.mean() + 1.96 * spread, abs=spread / 3)


def test_the_gain_is_paired(ranked):
    ours, theirs = ranked[0], ranked[1]
    difference = ours.per_person["NDCG@10"] - theirs.per_person["NDCG@10"]
    found = ours.gain(theirs)
    spread = difference.std() / np.sqrt(PEOPLE)
    assert found.mean == pytest.approx(difference.mean())
    assert found.high - found.low == pytest.approx(2 * 1.96 * spread, rel=0.15)


def test_the_worst_decile_is_each_seeds_own(ranked):
    expected = []
    for one in ranked[0].evaluations:
        expected.append(np.sort(one.nll)[-(PEOPLE // 10) :].mean())
    assert ranked[0].worst_decile == pytest.approx(np.mean(expected))


def test_the_best_rival_is_no_variant_of_ours(ranked):
    rival = best_rival([ranked[0], standing("pfsr-hard", 1), *ranked[1:]])
    assert rival is not None
    assert rival.method.name == "amb-fedadam"
    assert best_rival(ranked[:1]) is None


def test_a_rival_that_lacks_seeds_is_best_only_among_such(ranked):
    early, late = standing("sasrec-fedadam", 1, seeds=(0,)), standing("gru4rec-fedadam", 2, seeds=(1,))
    found = best_rival([ranked[0], early, *ranked[1:]])
    assert found is not None
    assert found.method.name == "amb-fedadam"
    assert best_rival([ranked[0], early, late]) is early


def test_the_gain_is_over_the_seeds_that_both_have(ranked):
    ours, rival = ranked[0], standing("sasrec-fedadam", 4, seeds=(1,))
    mine, other = (one.by_seed[1].per_person()["NDCG@10"] for one in (ours, rival))
    assert ours.gain(rival).mean == pytest.approx((mine - other).mean())
    assert ours.gain(ranked[2]).mean == pytest.approx(
        ours.per_person["NDCG@10"].mean() - ranked[2].per_person["NDCG@10"].mean()
    )
    third = standing("pfsr-hard", 0, seeds=(0,))
    assert third.gain(rival) is None
    table = methods_table([third, rival])
    assert table.columns[7] == "against sasrec-fedadam"
    assert [row[7].text for row in table.rows] == ["–", "–"]


@pytest.mark.parametrize(("low", "strong"), [(0.00004, False), (0.00006, True), (-0.1, False)])
def test_a_gain_is_bold_when_its_low_end_is_seen_above_0(low, strong):
    assert gain_cell(Interval(0.2, low, 0.3)).strong is strong


def test_the_table_says_quality_against_the_rival_and_cost(ranked):
    table = methods_table(ranked)
    assert table.columns[7] == "against amb-fedadam"
    ours, rival, rule = table.rows
    assert [cell.text for cell in ours[:3]] == ["pfsr", "federated", "2"]
    assert ours[4].text == f"{ranked[0].per_person['NDCG@10'].mean():.4f}"
    assert ours[4].strong
    assert not rival[4].strong
    worst = [row[6] for row in table.rows]
    assert worst[0].text == f"{ranked[0].worst_decile:.3f}"
    assert [cell.strong for cell in worst] == [
        float(cell.text) == min(float(w.text) for w in worst) for cell in worst
    ]
    assert [cell.text for cell in ours[8:]] == ["10", "0.006", "20.0", "1.5"]
    assert rival[7].text == "–"
    assert [cell.text for cell in rule[1:3]] == ["rule", "1"]


def test_missing_seeds_are_said_in_the_row():
    table = methods_table([standing("pfsr", 0, seeds=(0,), wanted=3)])
    assert table.rows[0][2].text == "1 of 3 (unfinished)"


def test_slices_hold_everybody_once_by_history_and_by_ties(ranked):
    table = slices_table(ranked)
    people = dict(zip(table.columns, (cell.text for cell in table.rows[0]), strict=True))
    by_history = [int(people[name]) for name in table.columns if name.startswith("history")]
    assert len(by_history) == 5
    assert sum(by_history) == PEOPLE
    assert int(people["tied in time"]) + int(people["not tied"]) == PEOPLE
    tied = ranked[0].evaluations[0].tied
    at = table.columns.index("tied in time")
    assert table.rows[1][at].text == f"{ranked[0].per_person['NDCG@10'][tied].mean():.4f}"
    assert [row[0].text for row in table.rows[1:]] == ["pfsr", "amb-fedadam", "markov"]


def test_markdown_marks_the_best_and_puts_intervals_in_parentheses():
    table = Table(["method", "x"], [[Cell("a"), Cell("1", "0–2", strong=True)], [Cell("b"), Cell("0")]])
    assert markdown(table) == "| method | x |\n|---|---:|\n| a | **1** (0–2) |\n| b | 0 |"
