"""The control: nobody is served with their own private offsets, and the run below stays as it is."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pfsr.comparison.scrambling import derangement
from pfsr.comparison.work import make_cell
from pfsr.errors import PfsrError
from pfsr.model.bundle import open_bundle
from pfsr.runs.judging import judge, models
from pfsr.runs.scoring import ModelScorer
from pfsr.runs.train import open_finished
from pfsr.runs.watcher import Quiet


@given(st.integers(2, 300), st.integers(0, 2**63 - 1))
def test_everybody_takes_the_turn_of_one_other(people, seed):
    donors = derangement(people, seed)
    assert sorted(donors) == list(range(people))
    assert not (donors == np.arange(people)).any()
    assert np.array_equal(donors, derangement(people, seed))


def test_the_seed_decides_who():
    assert len({derangement(50, seed).tobytes() for seed in range(20)}) == 20


@pytest.mark.parametrize("people", [0, 1])
def test_one_person_has_nobody_to_trade_with(people):
    with pytest.raises(PfsrError, match="two people or more"):
        derangement(people, 0)


def make(cell):
    make_cell(cell.folder, cell.wanted, Quiet())
    return cell


def files(folder):
    return {path: path.read_bytes() for path in folder.root.rglob("*") if path.is_file()}


def test_the_control_scores_with_the_donors_offsets_and_changes_nothing_below(planned):
    base, control = planned("pfsr-scrambled").cells
    make(base)
    before = files(base.folder)
    assert any(path.name == "private.f32" for path in before)
    found = make(control).result()
    assert files(base.folder) == before
    assert found is not None
    assert (found.own, found.cost.bytes_up) == ("personal", base.result().cost.bytes_up)

    right, wrong = base.evaluation(), control.evaluation()
    assert np.array_equal(right.people, wrong.people)
    assert (right.nll != wrong.nll).mean() > 0.9

    run = open_finished(base.folder)
    *_, own = models(open_bundle(base.folder.best), run.store, run.config)
    assert np.allclose(judge(run.bench, own, run.bench.split.test).nll, right.nll)
    people, history = np.array([4, 9]), [np.array([1, 2], dtype=np.int32)] * 2
    donors = np.arange(40)[::-1].copy()
    swapped = ModelScorer("personal", own.model, own.window, run.store, donors)
    assert np.allclose(swapped.score(people, history), own.score(39 - people, history))
    assert not np.allclose(swapped.score(people, history), own.score(people, history))


def test_a_run_that_is_not_done_cannot_be_scrambled(planned):
    _, control = planned("pfsr-scrambled", federated={"rounds": 2}).cells
    with pytest.raises(PfsrError, match="not finished, so pfsr-scrambled has nothing to start from"):
        make(control)
    assert control.result() is None


def test_it_stands_after_the_run_it_needs_and_is_made_of_it(planned):
    base, control = planned("pfsr-scrambled", "pfsr").cells
    assert (base.label, control.label) == ("pfsr seed 0", "pfsr-scrambled seed 0")
    assert control.base is base
    assert control.wanted.made_of.base == base.wanted.made_of
    told = json.loads(control.wanted.model_dump_json())
    assert told["made_of"]["config"]["federated"] == told["made_of"]["base"]["config"]["federated"]
