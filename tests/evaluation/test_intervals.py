from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from pfsr.errors import PfsrError
from pfsr.evaluation import intervals
from pfsr.evaluation.intervals import bootstrap, metric_intervals, paired_differences, paired_gain
from pfsr.evaluation.result import Evaluation


def evaluation(name="a", people=400, seed=0):
    random = np.random.default_rng(seed)
    none = np.zeros(people, bool)
    ranks = random.geometric(0.05, people)
    return Evaluation(
        name, np.arange(people), ranks, np.log(ranks) + 2, np.arange(people) % 70, none, none, none
    )


@pytest.mark.parametrize("metric", ["NDCG@10", "NLL"])
def test_agrees_with_scipy(metric):
    values = evaluation().per_person()[metric]
    ours = bootstrap(values)
    oracle = stats.bootstrap(
        (values,), np.mean, method="percentile", n_resamples=4000, rng=np.random.default_rng(9)
    ).confidence_interval
    width = oracle.high - oracle.low
    assert ours.mean == pytest.approx(values.mean())
    assert ours.low == pytest.approx(oracle.low, abs=0.06 * width)
    assert ours.high == pytest.approx(oracle.high, abs=0.06 * width)


def test_holds_the_truth_about_as_often_as_it_says():
    random = np.random.default_rng(3)
    hits = [
        found.low <= 0.3 <= found.high for found in (bootstrap(random.random(300) < 0.3) for _ in range(200))
    ]
    assert 0.9 <= np.mean(hits) <= 0.99


@given(st.lists(st.floats(-5, 5), min_size=1, max_size=30))
def test_lies_around_the_mean_and_inside_the_values(values):
    found = bootstrap(np.array(values))
    slack = 1e-9
    assert min(values) - slack <= found.low <= found.high <= max(values) + slack
    assert found.mean == pytest.approx(np.mean(values), abs=1e-9)


def test_same_seed_same_interval_other_seed_another():
    values = evaluation().nll
    assert bootstrap(values, 1) == bootstrap(values, 1)
    assert bootstrap(values, 1) != bootstrap(values, 2)


@pytest.mark.parametrize("few", [0, 10**6])
def test_both_ways_of_resampling_agree(monkeypatch, few):
    values = evaluation().per_person()["NDCG@10"]
    expected = bootstrap(values)
    monkeypatch.setattr(intervals, "FEW", few)
    found = bootstrap(values)
    assert found.low == pytest.approx(expected.low, rel=0.03)
    assert found.high == pytest.approx(expected.high, rel=0.03)


def test_metric_intervals_hold_the_means():
    result = evaluation()
    members = result.members()["history 11-20"]
    found = metric_intervals(result, members)
    assert {name: part.mean for name, part in found.items()} == pytest.approx(result.metrics(members))


def test_gain_is_positive_where_the_first_is_better():
    worse = evaluation()
    better = replace(worse, name="b", ranks=np.maximum(worse.ranks // 2, 1), nll=worse.nll - 0.5)
    gain = paired_gain(better, worse)
    assert gain["NLL"].mean == pytest.approx(0.5)
    assert all(part.low > 0 for part in gain.values())
    assert paired_gain(worse, better)["HR@10"].mean == pytest.approx(-gain["HR@10"].mean)


def test_pairing_is_narrower_than_two_separate_intervals():
    worse = evaluation()
    better = replace(worse, nll=worse.nll - 0.1)
    paired, alone = paired_gain(better, worse)["NLL"], bootstrap(worse.nll)
    assert paired.high - paired.low < 0.1 * (alone.high - alone.low)


def test_only_the_members_count():
    worse = evaluation()
    members = np.arange(len(worse)) < 10
    better = replace(worse, nll=worse.nll - members)
    assert paired_gain(better, worse, members)["NLL"].mean == pytest.approx(1)
    assert paired_gain(better, worse)["NLL"].mean == pytest.approx(10 / 400)


def test_different_targets_are_refused():
    with pytest.raises(PfsrError, match="a and b were judged on different targets"):
        paired_differences(evaluation("a", 400), evaluation("b", 399))
