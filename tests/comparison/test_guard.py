"""What took hours is not lost unasked, and two comparisons do not write into one folder."""

import json
import subprocess
import sys

import pytest

from pfsr.comparison.cell import result_file
from pfsr.comparison.guard import guarded, refuse_file
from pfsr.comparison.pool import Pool
from pfsr.errors import PfsrError


def make(comparison):
    for cell in comparison.cells:
        assert Pool([cell], 1, lambda *_: None).run(lambda _: None)
        assert cell.result()


def enter(comparison, overwrite=False):
    with guarded(comparison, overwrite):
        pass


def test_a_cell_with_other_settings_is_kept_and_the_settings_are_named(planned):
    make(planned("pfsr", "popularity"))
    enter(planned("pfsr", "popularity"))
    other = planned("pfsr", "popularity", federated={"rounds": 8})
    with pytest.raises(
        PfsrError, match=r"pfsr seed 0 was made with federated\.rounds 6, now 8; .*--overwrite"
    ):
        enter(other)
    assert planned("pfsr").cells[0].result()
    enter(other, overwrite=True)


def test_what_starts_from_it_counts_too_and_the_line_stays_one(planned):
    make(planned("pfsr", "pfsr-scrambled"))
    other = planned("pfsr", "pfsr-scrambled", evaluation={"every": 3}, response={"adapt_steps": 1})
    with pytest.raises(PfsrError, match=r"and 1 more of its cells with other settings") as caught:
        enter(other)
    assert "response.adapt_steps 2, now 1; evaluation.every 2, now 3" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_rounds_of_a_stopped_run_count_until_its_settings_are_the_wanted_ones(planned):
    comparison = planned("pfsr")
    make(comparison)
    result_file(comparison.cells[0].folder).unlink()
    enter(comparison)
    with pytest.raises(PfsrError, match=r"federated\.cohort 16, now 8"):
        enter(planned("pfsr", federated={"cohort": 8}))


@pytest.mark.parametrize("name", ["config.json", "facts.json"])
def test_rounds_whose_settings_are_damaged_are_not_lost_unasked(planned, name):
    comparison = planned("pfsr")
    make(comparison)
    folder = comparison.cells[0].folder
    result_file(folder).unlink()
    (folder.root / name).write_text("{")
    with pytest.raises(PfsrError, match=r"damaged config\.json or facts\.json.*--overwrite"):
        enter(comparison)
    enter(comparison, overwrite=True)


def test_what_the_data_decide_is_settled_for_a_method_too(planned, own_method):
    mine = own_method("mine", 'about = "x"\nkind = "run"\n[settings.model]\ndropout = "auto"\n')
    (cell,) = planned(str(mine), model={"dropout": 0.3}).cells
    assert 0.2 < cell.wanted.made_of.config.model.dropout <= 0.5
    make(planned(str(mine), model={"dropout": 0.3}))
    result_file(cell.folder).unlink()
    assert cell.rounds_done() == 6


def test_another_versions_cell_is_not_lost_unasked(planned):
    comparison = planned("popularity")
    make(comparison)
    place = result_file(comparison.cells[0].folder)
    told = json.loads(place.read_text())
    told["wanted"]["made_of"]["config"]["model"]["of_old"] = 1
    place.write_text(json.dumps(told))
    with pytest.raises(PfsrError, match="another version's settings"):
        enter(comparison)


@pytest.mark.parametrize("damage", ["", "{", "5", "{}", "[1]", '{"wanted": 1}'])
def test_a_damaged_result_is_made_again(planned, damage):
    comparison = planned("pfsr")
    make(comparison)
    before = comparison.cells[0].evaluation().ranks
    result_file(comparison.cells[0].folder).write_text(damage)
    enter(comparison)
    make(comparison)
    assert (comparison.cells[0].evaluation().ranks == before).all()


@pytest.mark.parametrize("part", ["validation", "test"])
def test_cut_off_ranks_are_judged_again(planned, part):
    comparison = planned("popularity")
    make(comparison)
    (place,) = comparison.cells[0].folder.evaluation.glob(f"{part}-*.npz")
    before = comparison.cells[0].evaluation(part).ranks
    place.write_bytes(place.read_bytes()[:-40])
    assert comparison.cells[0].result() is None
    make(comparison)
    assert (comparison.cells[0].evaluation(part).ranks == before).all()


def test_a_scorer_that_is_not_there_is_no_result(planned):
    comparison = planned("popularity")
    make(comparison)
    place = result_file(comparison.cells[0].folder)
    place.write_text(place.read_text().replace('"own": "popularity"', '"own": "zzz"'))
    assert comparison.cells[0].result() is None


def test_a_second_comparison_is_refused_while_the_first_is_at_work(planned):
    pytest.importorskip("fcntl")
    comparison = planned("popularity")
    with guarded(comparison, False):
        code = "import sys, fcntl; fcntl.flock(open(sys.argv[1], 'w'), fcntl.LOCK_EX | fcntl.LOCK_NB)"
        held = subprocess.run(
            [sys.executable, "-c", code, str(comparison.out / ".lock")], capture_output=True, check=False
        )
        assert b"BlockingIOError" in held.stderr
        with pytest.raises(PfsrError, match="another comparison is at work here"):
            enter(comparison)
    enter(comparison)


def test_a_file_or_a_place_that_cannot_be_is_refused(planned, tmp_path):
    comparison = planned("popularity")
    (tmp_path / "file").write_text("x")
    with pytest.raises(PfsrError, match="a file, not a folder; name another --out"):
        refuse_file(tmp_path / "file")
    with pytest.raises(PfsrError, match="a file, not a folder; name another --out"):
        refuse_file(tmp_path / "file" / "below" / "further")
    refuse_file(tmp_path / "new" / "below")
    for place in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(PfsrError, match="name another --out"):
            enter(comparison._replace(out=place))
    assert (tmp_path / "file").read_text() == "x"
