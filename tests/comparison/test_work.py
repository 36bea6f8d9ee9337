"""One cell: made once, resumed to the same numbers, made anew when anything it is made of has changed."""

import numpy as np
import pytest

from pfsr.comparison.work import make_cell
from pfsr.errors import PfsrError
from pfsr.runs.folder import read_json
from pfsr.runs.rounds_log import read_metrics
from pfsr.runs.train import Interrupted
from pfsr.runs.watcher import Quiet


class StopsAfter(Quiet):
    def __init__(self, rounds):
        self.left = rounds

    def round(self, report, seconds, look):
        self.left -= 1

    def wants_to_stop(self):
        return self.left <= 0


def make(cell, watcher=None):
    make_cell(cell.folder, cell.wanted, watcher or Quiet())
    return cell


def same_ranks(one, other):
    return np.array_equal(one.ranks, other.ranks) and np.allclose(one.nll, other.nll)


def test_a_finished_cell_says_what_the_tables_need(planned):
    cell = make(planned("pfsr").cells[0])
    found = cell.result()
    assert found.own == "personal"
    assert found.metrics["test"].keys() == {"global", "personal"}
    assert found.metrics["test"]["personal"] == pytest.approx(cell.evaluation().metrics())
    lines = read_metrics(cell.folder)
    assert found.cost.rounds == len(lines) == 6
    assert found.cost.looks == 3
    assert found.cost.participations == pytest.approx(sum(line["clients"] for line in lines) / 40)
    assert found.cost.bytes_up == pytest.approx(sum(line["bytes_up"] for line in lines) / 40)
    assert found.cost.peak_memory_bytes > 0
    assert read_json(cell.folder.facts)["split_hash"] == found.wanted.split


def test_a_memory_of_pairs_is_part_of_what_a_cell_costs(planned):
    plain = make(planned("pfsr").cells[0]).result().cost
    cell = make(planned("pfsr", memory={"mode": "pairs"}).cells[0])
    cost, facts = cell.result().cost, read_json(cell.folder.facts)
    assert cost.bytes_up - plain.bytes_up == pytest.approx(facts["pairs_sent_bytes"])
    assert cost.bytes_down - plain.bytes_down == pytest.approx(facts["pairs_received_bytes"])
    central = make(planned("amb-central", memory={"mode": "pairs"}).cells[0]).result().cost
    assert (central.bytes_up, central.bytes_down) == (0, 0)


def test_a_rule_is_the_same_as_in_an_ordinary_run(planned):
    cell = make(planned("markov").cells[0])
    assert cell.result().own == "markov"
    assert cell.result().cost.rounds == 0
    assert 0 < cell.evaluation().metrics()["HR@10"] < 1


def test_without_private_offsets_the_global_model_stands_for_the_method(planned):
    assert make(planned("pfsr-no-response").cells[0]).result().own == "global"


def test_a_finished_cell_is_not_made_again(planned):
    cell = make(planned("pfsr").cells[0])
    before = (cell.folder.root / "cell.json").stat().st_mtime_ns
    make(cell)
    assert (cell.folder.root / "cell.json").stat().st_mtime_ns == before


def test_a_stopped_cell_resumes_to_the_same_ranks(planned, tmp_path):
    whole = make(planned("pfsr").cells[0])
    expected, lines = whole.evaluation(), len(read_metrics(whole.folder))
    whole.folder.root.rename(tmp_path / "elsewhere")
    cell = planned("pfsr").cells[0]
    with pytest.raises(Interrupted):
        make(cell, StopsAfter(3))
    assert cell.result() is None
    assert cell.rounds_done() == 3
    make(cell)
    assert len(read_metrics(cell.folder)) == lines
    assert same_ranks(cell.evaluation(), expected)


def test_a_cell_killed_in_its_evaluation_does_not_train_again(planned):
    cell = make(planned("pfsr").cells[0])
    lines = cell.folder.metrics.read_bytes()
    (cell.folder.root / "cell.json").unlink()
    assert cell.result() is None
    make(cell)
    assert cell.folder.metrics.read_bytes() == lines


def test_a_stop_is_heeded_while_judging(planned):
    cell = planned("markov").cells[0]
    with pytest.raises(Interrupted):
        make(cell, StopsAfter(0))
    assert cell.result() is None


@pytest.mark.parametrize("lost", ["cell.json", "evaluation/test-personal.npz"])
def test_a_cell_that_lost_a_part_is_not_finished(lost, planned):
    cell = make(planned("pfsr").cells[0])
    (cell.folder.root / lost).unlink()
    assert cell.result() is None


def test_a_damaged_cell_is_not_finished(planned):
    cell = make(planned("popularity").cells[0])
    (cell.folder.root / "cell.json").write_text('{"own": ')
    assert cell.result() is None


def test_a_finished_cell_whose_log_lost_its_end_says_so(planned):
    cell = make(planned("pfsr").cells[0])
    lines = cell.folder.metrics.read_bytes().splitlines(keepends=True)
    cell.folder.metrics.write_bytes(b"".join(lines[:-1]) + lines[-1][:9])
    with pytest.raises(PfsrError, match=r"metrics\.jsonl: round 6 is damaged or missing"):
        cell.log()


def test_another_configuration_starts_the_cell_again(planned):
    make(planned("pfsr").cells[0])
    changed = planned("pfsr", federated={"rounds": 4}).cells[0]
    assert changed.result() is None
    assert changed.rounds_done() == 0
    assert make(changed).result().cost.rounds == 4
    assert planned("pfsr").cells[0].result() is None


def test_a_setting_that_came_later_with_its_default_changes_nothing(planned):
    cell = make(planned("pfsr-flipped").cells[0])
    for name in ("cell.json", "config.json"):
        path = cell.folder.root / name
        told = path.read_text()
        assert '"beta1": 0.9,' in told
        path.write_text(told.replace('"beta1": 0.9,', ""))
    assert cell.result() is not None


def test_other_data_invalidates_and_is_told(planned, world, tmp_path):
    copy = tmp_path / "world.csv"
    copy.write_text(world.read_text())
    cell = make(planned("popularity", data={"source": str(copy)}).cells[0])
    copy.write_text(world.read_text() + "u1,i3,99999\n")
    assert planned("popularity", data={"source": str(copy)}).cells[0].result() is None
    (cell.folder.root / "cell.json").unlink()
    with pytest.raises(PfsrError, match="has changed since the comparison began"):
        make(cell)


def test_ditto_starts_from_the_finished_cell_below_and_bears_its_cost(planned, own_method):
    text = (
        'about = "x"\nkind = "ditto"\nof = "pfsr-no-response"\n[tuning]\nsteps = 1\nrate = 1e-3\npull = 0.1'
    )
    below, ditto = planned(str(own_method("mine", text))).cells
    with pytest.raises(PfsrError, match="not finished, so mine has nothing to start from"):
        make(ditto)
    make(below)
    found = make(ditto).result()
    assert found.own == "personal"
    assert found.cost.bytes_up == below.result().cost.bytes_up
    assert not same_ranks(ditto.evaluation(), below.evaluation())
