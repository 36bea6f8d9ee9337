import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from torchmetrics import retrieval

from pfsr.errors import PfsrError
from pfsr.evaluation.metrics import per_person, target_nll, target_ranks

SCORES = hnp.arrays(
    np.float32,
    st.tuples(st.integers(1, 6), st.integers(2, 30)),
    elements=st.floats(-9, 9, width=32),
)


@st.composite
def ranking(draw):
    scores = draw(SCORES)
    rows = st.integers(1, scores.shape[1] - 1)
    targets = draw(st.lists(rows, min_size=len(scores), max_size=len(scores)))
    seen = [np.array(draw(st.lists(rows, max_size=5)), np.int32) for _ in targets]
    return scores, np.array(targets), seen


def rank_by_hand(scores, target, seen):
    others = [i for i in range(1, len(scores)) if i != target and i not in set(seen)]
    return 1 + sum(scores[i] >= scores[target] for i in others)


@given(ranking())
def test_rank_counts_everything_at_least_as_good(case):
    scores, targets, seen = case
    expected = [rank_by_hand(*row) for row in zip(scores, targets, seen, strict=True)]
    assert target_ranks(scores, targets, seen).tolist() == expected


@given(ranking())
def test_nll_is_the_cross_entropy_over_what_competes(case):
    scores, targets, seen = case
    logits = torch.from_numpy(scores[:, 1:].astype(np.float64))
    wanted = torch.from_numpy(targets - 1)
    everything = torch.nn.functional.cross_entropy(logits, wanted, reduction="none")
    np.testing.assert_allclose(target_nll(scores, targets), everything.numpy(), rtol=1e-5, atol=1e-5)
    for row, (target, items) in enumerate(zip(targets, seen, strict=True)):
        logits[row, [item - 1 for item in items if item != target]] = -torch.inf
    unseen = torch.nn.functional.cross_entropy(logits, wanted, reduction="none")
    np.testing.assert_allclose(target_nll(scores, targets, seen), unseen.numpy(), rtol=1e-5, atol=1e-5)


@given(ranking())
def test_nothing_depends_on_the_padding_column(case):
    scores, targets, seen = case
    changed = scores.copy()
    changed[:, 0] = np.nan
    assert (target_ranks(changed, targets, seen) == target_ranks(scores, targets, seen)).all()
    assert (target_nll(changed, targets) == target_nll(scores, targets)).all()


@pytest.mark.parametrize("k", [5, 10, 20])
def test_metrics_equal_torchmetrics(k):
    random = np.random.default_rng(1)
    people, items = 40, 60
    scores = random.permuted(np.tile(np.arange(items + 1, dtype=np.float32), (people, 1)), axis=1)
    targets = random.integers(1, items + 1, people)
    relevant = torch.zeros(people, items, dtype=torch.bool)
    relevant[torch.arange(people), torch.from_numpy(targets - 1)] = True
    owner = torch.arange(people).repeat_interleave(items)
    ours = per_person(target_ranks(scores, targets))
    oracles = {
        "HR": retrieval.RetrievalHitRate,
        "NDCG": retrieval.RetrievalNormalizedDCG,
        "MRR": retrieval.RetrievalMRR,
    }
    for name, oracle in oracles.items():
        expected = oracle(top_k=k)(torch.from_numpy(scores[:, 1:]).flatten(), relevant.flatten(), owner)
        assert ours[f"{name}@{k}"].mean() == pytest.approx(expected.item(), abs=1e-6)


def test_golden_values():
    values = per_person(np.array([1, 2, 10, 11]))
    np.testing.assert_allclose(values["NDCG@10"], [1, 0.6309, 0.2891, 0], atol=5e-5)
    np.testing.assert_allclose(values["HR@10"], [1, 1, 1, 0])
    np.testing.assert_allclose(values["MRR@10"], [1, 0.5, 0.1, 0])


def test_a_model_that_scores_everything_the_same_comes_last():
    assert target_ranks(np.zeros((1, 101), np.float32), np.array([7])).tolist() == [100]


def test_a_target_seen_before_still_competes():
    scores = np.array([[0, 3, 2, 1]], np.float32)
    assert target_ranks(scores, np.array([2]), [np.array([1, 2])]).tolist() == [1]
    assert target_ranks(scores, np.array([2])).tolist() == [2]


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("place", [1, 2])
def test_scores_that_are_no_numbers_are_refused(bad, place):
    scores = np.zeros((1, 4), np.float32)
    scores[0, place] = bad
    with pytest.raises(PfsrError, match="NaN or infinity"):
        target_ranks(scores, np.array([2]))


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_nll_refuses_scores_that_are_no_numbers(bad):
    with pytest.raises(PfsrError, match="NaN or infinity"):
        target_nll(np.array([[0, bad, 1]], np.float32), np.array([2]))


def test_a_scorer_may_rule_out_a_seen_item_itself():
    scores = np.array([[0, -np.inf, 0, 0]], np.float32)
    assert target_ranks(scores, np.array([2]), [np.array([1])]).tolist() == [2]
    assert target_nll(scores, np.array([2]))[0] == pytest.approx(math.log(2))
