"""A run with a memory of pairs: counted from training events alone, in the bundle, told and paid for."""

import numpy as np
import pytest

from pfsr.federated.pairs import own_pairs, pair_bytes
from pfsr.runs.folder import read_json
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
    assert pairs_of(run.remembering.memory) == wanted
    assert wanted < whole


def test_it_is_in_the_bundle_and_told(make_run):
    run = make_run(**ON)
    model = train(run, Quiet())
    assert pairs_of(model.memory) == pairs_of(run.remembering.memory)
    facts, sequences = read_json(run.folder.facts), run.bench.dataset.sequences
    ends = run.bench.split.train_ends
    pairs = [len(own_pairs(sequences.history(p, int(end))).first_n) for p, end in enumerate(ends)]
    assert facts["pairs"] == len(model.memory.following)
    assert facts["pairs_sent_bytes"] == round(pair_bytes(sum(pairs)) / 40)
    assert facts["pairs_received_bytes"] == sum(array.nbytes for array in model.memory.arrays().values())


def test_a_run_opened_again_remembers_the_same(make_run):
    run = make_run(**ON)
    train(run, Quiet())
    again = reopen_run(run.folder)
    assert again.remembering.memory is not None
    for name, array in run.remembering.memory.arrays().items():
        assert np.array_equal(again.remembering.memory.arrays()[name], array)


def test_it_changes_answers_and_not_what_is_learnt(make_run):
    """Training does not know it; what is judged does."""
    remembering, without = (train(make_run(str(len(on)), **on), Quiet()) for on in (ON, {}))
    assert without.memory is None
    assert all((remembering.weights[name] == weight).all() for name, weight in without.weights.items())
    history = [np.array([1, 2, 3])]
    assert not np.allclose(remembering.score(history)[:, 1:], without.score(history)[:, 1:])


def test_where_it_is_off_nothing_is_told(make_run):
    run = make_run()
    assert run.remembering.memory is None
    assert "pairs" not in read_json(run.folder.facts)


@pytest.mark.parametrize("people", [2, 3])
def test_fewer_pairs_are_left_where_more_people_must_share_them(make_run, people):
    few = make_run("few", memory={"mode": "pairs", "people": people}).remembering.memory
    more = make_run("more", memory={"mode": "pairs", "people": people - 1}).remembering.memory
    assert pairs_of(few) < pairs_of(more)
    assert np.array_equal(few.totals, more.totals)
