"""Judging on several cores equals one plain evaluation; looks use a fixed sample."""

import numpy as np
import pytest

from pfsr.data.split import Targets
from pfsr.evaluation.evaluate import evaluate
from pfsr.model.bundle import open_bundle
from pfsr.runs import judging
from pfsr.runs.judging import judge, models, scorers, some_of


@pytest.fixture(scope="module")
def methods(finished):
    model = open_bundle(finished.folder.best)
    return {one.name: one for one in scorers(finished.bench, model, finished.store, finished.config)}


@pytest.mark.parametrize("cores", [1, 2, 3, 7, 1000])
@pytest.mark.parametrize("name", ["popularity", "markov", "global", "personal"])
def test_joined_pieces_equal_one_evaluation(name, cores, methods, finished, monkeypatch):
    monkeypatch.setattr(judging, "available_cores", lambda: cores)
    dataset, split = finished.bench
    joined = judge(finished.bench, methods[name], split.test)
    whole = evaluate(
        methods[name], dataset.sequences, split.test, split.train_ends, items=len(dataset.catalog)
    )
    assert joined.name == whole.name
    for part in ("people", "ranks", "history_lengths", "tied", "cold_people", "cold_items"):
        np.testing.assert_array_equal(getattr(joined, part), getattr(whole, part))
    np.testing.assert_allclose(joined.nll, whole.nll, rtol=1e-4)


def test_the_personal_model_differs_from_the_global_one(methods, finished):
    found = [judge(finished.bench, methods[n], finished.bench.split.test).nll for n in ("global", "personal")]
    assert np.abs(found[0] - found[1]).max() > 1e-4


def test_without_response_there_is_no_personal_model(make_config, finished):
    model = open_bundle(finished.folder.best)
    off = make_config(response={"mode": "off"})
    assert [one.name for one in models(model, finished.store, off)] == ["global"]


def test_a_model_reads_no_further_back_than_its_window(finished):
    model = open_bundle(finished.folder.best)
    scorer = judging.ModelScorer("global", model, 3)
    people, history = np.array([0]), np.array([1, 2, 3, 4, 5, 6])
    np.testing.assert_array_equal(scorer.score(people, [history]), scorer.score(people, [history[-3:]]))


def targets(count: int) -> Targets:
    rows = np.arange(count)
    return Targets(rows * 2, rows * 3, (rows + 1).astype(np.int32))


def test_a_look_takes_a_fixed_sample_without_repeats():
    everybody = targets(100)
    first, again = some_of(everybody, 10, seed=4), some_of(everybody, 10, seed=4)
    np.testing.assert_array_equal(first.people, again.people)
    assert len(set(first.people.tolist())) == 10
    assert (np.diff(first.people) > 0).all()
    np.testing.assert_array_equal(first.positions, first.people // 2 * 3)
    np.testing.assert_array_equal(first.items, first.people // 2 + 1)
    assert not np.array_equal(first.people, some_of(everybody, 10, seed=5).people)


def test_a_sample_of_more_than_there_are_is_everybody():
    everybody = targets(10)
    assert some_of(everybody, 10, seed=0) is everybody
    assert some_of(everybody, 11, seed=0) is everybody
