"""Several rates for every method: which cells there are, and which of them the table shows."""

import numpy as np
import pytest

from pfsr.comparison.cell import CellResult, Cost, evaluation_file, result_file
from pfsr.comparison.conclude import conclude, report_path, results_path
from pfsr.comparison.learning import curves
from pfsr.comparison.rates import at_best_rates, parse_factors, rates_table
from pfsr.comparison.signal import signals
from pfsr.comparison.standing import standings
from pfsr.comparison.tables import methods_table
from pfsr.comparison.work import make_cell
from pfsr.errors import PfsrError
from pfsr.evaluation.result import Evaluation
from pfsr.runs.folder import write_json
from pfsr.runs.rounds_log import log_round
from pfsr.runs.watcher import Quiet

PEOPLE = 40


def finish(cell, validation, test_rank=1, nll=1.0):
    """Leave what a finished cell leaves: a validation NDCG@10, and ranks of its own in the test."""
    own = "global" if cell.wanted.made_of.config.response.mode == "off" else "personal"
    metrics = {part: {own: {"NDCG@10": validation}} for part in ("validation", "test")}
    for part in metrics:
        ranks, no = np.full(PEOPLE, test_rank), np.zeros(PEOPLE, bool)
        found = Evaluation(
            own, np.arange(PEOPLE), ranks, np.full(PEOPLE, nll), np.full(PEOPLE, 9), no, no, no
        )
        found.save(evaluation_file(cell.folder, part, own))
    result = CellResult(wanted=cell.wanted, own=own, metrics=metrics, cost=Cost(rounds=6))
    for number in range(1, 7):
        log_round(cell.folder, {"round": number, "bytes_up": 8, "bytes_down": 8})
    write_json(cell.folder.facts, {})
    write_json(result_file(cell.folder), result.model_dump())


def test_every_method_with_a_server_is_made_at_every_rate_of_its_own(planned):
    comparison = planned("markov", "local-only", "pfsr", "amb-fedavg", rates=(0.5, 1.0, 2.0))
    assert [cell.label for cell in comparison.cells] == [
        "markov", "local-only seed 0",
        "pfsr rate x0.5 seed 0", "pfsr seed 0", "pfsr rate x2 seed 0",
        "amb-fedavg rate x0.5 seed 0", "amb-fedavg seed 0", "amb-fedavg rate x2 seed 0",
    ]  # fmt: skip
    rates = [cell.wanted.made_of.config.federated.server_rate for cell in comparison.cells[2:]]
    assert rates == pytest.approx([0.005, 0.01, 0.02, 0.5, 1.0, 2.0])
    assert len({cell.folder.root for cell in comparison.cells}) == 8


def test_the_own_rate_is_the_very_cell_of_a_comparison_without_rates(planned):
    plain, several = planned("pfsr").cells[0], planned("pfsr", rates=(0.5, 1.0)).cells[1]
    assert (plain.wanted, plain.folder) == (several.wanted, several.folder)


def test_the_best_on_validation_is_shown_however_it_does_in_the_test(planned):
    cells = planned("pfsr", "gru4rec-fedadam", rates=(0.5, 1.0, 2.0)).cells
    for cell, validation, rank in zip(cells, (0.1, 0.3, 0.2, 0.3, 0.2, 0.1), (1, 9, 1, 9, 1, 1), strict=True):
        finish(cell, validation, rank)
    assert [cell.label for cell in at_best_rates(cells)] == [
        "pfsr seed 0",
        "gru4rec-fedadam rate x0.5 seed 0",
    ]


def test_scrambled_offsets_are_those_of_the_run_that_is_shown(planned):
    cells = planned("pfsr", "pfsr-scrambled", rates=(1.0, 2.0)).cells
    for cell, validation in zip(cells, (0.1, 0.2, 0.4, 0.3), strict=True):
        finish(cell, validation)
    assert [cell.label for cell in at_best_rates(cells)] == [
        "pfsr rate x2 seed 0",
        "pfsr-scrambled rate x2 seed 0",
    ]
    assert cells[3].base is cells[1]
    assert cells[3].wanted.made_of.base == cells[1].wanted.made_of


def test_rates_are_compared_over_the_seeds_that_all_have(planned):
    cells = planned("pfsr", rates=(1.0, 2.0), seeds=(0, 1)).cells
    assert [cell.label for cell in cells] == [
        "pfsr seed 0", "pfsr rate x2 seed 0", "pfsr seed 1", "pfsr rate x2 seed 1",
    ]  # fmt: skip
    finish(cells[0], 0.2)
    assert at_best_rates(cells) == [cells[0], cells[2]]
    finish(cells[1], 0.3)
    assert at_best_rates(cells) == [cells[1], cells[3]]
    finish(cells[2], 0.5)  # the other rate has no seed 1 yet
    assert at_best_rates(cells) == [cells[1], cells[3]]
    finish(cells[3], 0.35)
    assert at_best_rates(cells) == [cells[0], cells[2]]


def test_while_nothing_is_finished_no_method_is_missing(planned):
    comparison = planned("markov", "pfsr", rates=(0.5, 1.0))
    assert {cell.method.name for cell in comparison.at_best_rates().cells} == {"markov", "pfsr"}
    assert comparison.tries_rates
    assert not planned("pfsr").tries_rates


def test_a_plain_average_takes_its_local_rate_along(planned):
    for name, local in (("fedprox", 0.2), ("pfsr", 0.1)):
        federated = planned(name, rates=(2.0,)).cells[0].wanted.made_of.config.federated
        assert federated.local_rate == pytest.approx(local)


def test_what_every_rate_reached_is_listed_with_the_best_strong(planned):
    comparison = planned("pfsr", "gru4rec-fedadam", "local-only", rates=(0.5, 1.0, 2.0), seeds=(0, 1))
    for cell, validation in zip(comparison.cells, (0.1, 0.3, 0.2, 0.1, 0.2, 0.3, 0.4, 0.2), strict=False):
        finish(cell, validation)
    table = rates_table(comparison.cells)
    assert table.columns == ["validation NDCG@10", "rate x0.5", "rate x1", "rate x2"]
    ours, rival = table.rows
    assert [cell.text for cell in ours] == ["pfsr", "0.1500", "0.3000", "0.2000"]
    assert [cell.small for cell in ours] == ["", "", "1 of 2 seeds", "1 of 2 seeds"]
    assert [cell.strong for cell in ours] == [False, False, True, False]
    assert [cell.strong for cell in rival] == [False, False, False, True]
    assert rates_table(planned("pfsr", "markov").cells) is None
    shown = methods_table(standings(comparison.at_best_rates()))
    at = shown.columns.index("rate")
    assert {row[0].text: row[at].text for row in shown.rows} == {
        "pfsr": "0.01", "gru4rec-fedadam": "0.02", "local-only": "–",
    }  # fmt: skip


def test_what_is_written_is_about_the_best_rates(planned):
    comparison = planned("pfsr", "pfsr-no-response", rates=(1.0, 2.0))
    validations, losses = (0.1, 0.2, 0.2, 0.1), (9.0, 1.0, 1.5, 7.0)
    for cell, validation, nll in zip(comparison.cells, validations, losses, strict=True):
        finish(cell, validation, nll=nll)
    (found,) = signals(comparison.at_best_rates())
    assert found.wanted == 1
    assert found.gain[0] == pytest.approx(np.full(PEOPLE, 0.5))  # 1.5 at its own best rate, less 1.0
    conclude(comparison, [])
    text = results_path(comparison).read_text()
    assert "## Rates tried" in text
    assert "| pfsr | 0.1000 | **0.2000** |" in text
    assert "| pfsr | 1 | **+0.5000** (" in text
    assert "Rates tried" in report_path(comparison).read_text()


def test_the_curve_is_that_of_the_rate_in_the_table(planned):
    comparison = planned("pfsr", rates=(1.0, 3.0))
    for cell in comparison.cells:
        make_cell(cell.folder, cell.wanted, Quiet())
    best = comparison.at_best_rates()
    (standing,), (chosen,) = standings(best), best.cells
    scores = [cell.result().metrics["validation"]["personal"]["NDCG@10"] for cell in comparison.cells]
    assert chosen is comparison.cells[int(np.argmax(scores))]
    assert scores[0] != scores[1]
    (curve,) = curves(best)
    looks = [line for line in chosen.folder.metrics.read_text().splitlines() if "validation" in line]
    assert f'"NDCG@10": {curve.ndcg[-1]}' in looks[-1]
    assert standing.rate == pytest.approx(0.01 * chosen.factor)


@pytest.mark.parametrize(
    ("text", "factors"), [("1", [1.0]), ("2,.5,1", [0.5, 1.0, 2.0]), ("1,1.0000001,", [1.0])]
)
def test_rates_are_factors_in_order(text, factors):
    assert parse_factors(text) == factors


@pytest.mark.parametrize("text", ["", "0", "-1", "x", "1,nan", "inf", "1;2"])
def test_other_rates_are_refused(text):
    with pytest.raises(PfsrError, match="--rates"):
        parse_factors(text)
