"""A run with a memory of pairs: counted from training events alone, in the bundle, told and paid for."""

import numpy as np
import pytest

from pfsr.federated.pairs import own_pairs
from pfsr.runs.folder import read_json
from pfsr.runs.remembering import remembered
from pfsr.runs.train import reopen_run, train
from pfsr.runs.watcher import Quiet

ON = {"memory": {"mode": "pairs", "people": 1}}


def pairs_of(memory):
    firsts = np.repeat(np.arange(len(memory.totals)), np.diff(memory.starts))
    return set(zip(firsts.tolist(), memory.following.tolist(), strict=True))


def test_the_memory_knows_training_events_and_nothing_else(make_run):
    run = make_run(**ON)
    sequences, ends = run.bench.dataset.sequences, run.bench.split.train_ends
    wanted, whole = set(), set()
    for person in range(len(ends)):
        for known, end in ((wanted, int(ends[person])), (whole, None)):
            pairs = own_pairs(sequences.history(person, end))
            known |= set(zip(pairs.first_n.tolist(), pairs.second_n.tolist(), strict=True))
    assert pairs_of(run.memory) == wanted
    assert wanted < whole


def test_it_is_in_the_bundle_and_told(make_run):
    run = make_run(**ON)
    model = train(run, Quiet())
    assert pairs_of(model.memory) == pairs_of(run.memory)
    found, facts = remembered(run.bench, run.config), read_json(run.folder.facts)
    assert facts["pairs"] == len(run.memory.following)
    assert facts["pairs_bytes_up"] == found.bytes_up > 9 * facts["pairs"]
    assert facts["pairs_bytes_down"] == sum(array.nbytes for array in run.memory.arrays().values())


def test_a_run_opened_again_remembers_the_same(make_run):
    run = make_run(**ON)
    train(run, Quiet())
    again = reopen_run(run.folder)
    assert again.memory is not None
    for name, array in run.memory.arrays().items():
        assert np.array_equal(again.memory.arrays()[name], array)


def test_it_changes_answers_and_not_what_is_learnt(make_run):
    """Training does not know it; what is judged does."""
    remembering, without = (train(make_run(str(len(on)), **on), Quiet()) for on in (ON, {}))
    assert without.memory is None
    assert all((remembering.weights[name] == weight).all() for name, weight in without.weights.items())
    history = [np.array([1, 2, 3])]
    assert not np.allclose(remembering.score(history)[:, 1:], without.score(history)[:, 1:])


def test_where_it_is_off_nothing_is_told(make_run):
    run = make_run()
    assert run.memory is None
    assert "pairs" not in read_json(run.folder.facts)
    assert remembered(run.bench, run.config) == (None, 0)


@pytest.mark.parametrize("people", [2, 3])
def test_fewer_pairs_are_left_where_more_people_must_share_them(make_run, people):
    few = make_run("few", memory={"mode": "pairs", "people": people}).memory
    more = make_run("more", memory={"mode": "pairs", "people": people - 1}).memory
    assert pairs_of(few) < pairs_of(more)
    assert np.array_equal(few.totals, more.totals)
