import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chisquare

from pfsr.config import FederatedConfig
from pfsr.federated.cohort import eligible, sample_cohort, who_answers
from pfsr.federated.seeds import derive

SEEDS = st.integers(0, 2**40)
ROUNDS = st.integers(0, 10**6)


@given(st.lists(st.integers(0, 50), min_size=1, max_size=20), st.integers(0, 10))
def test_people_need_two_events_at_least(train_ends, min_events):
    rows = eligible(np.array(train_ends), min_events)
    expected = [row for row, end in enumerate(train_ends) if end >= min_events and end >= 2]
    assert rows.tolist() == expected


def drawing(cohort: int, sampling: str = "random") -> FederatedConfig:
    return FederatedConfig.model_validate({"cohort": cohort, "sampling": sampling})


@given(st.integers(1, 60), st.integers(1, 80), SEEDS, ROUNDS)
def test_a_cohort_is_distinct_clients_and_follows_from_seed_and_round(people, size, seed, number):
    clients = np.arange(people) * 3 + 5
    cohort = sample_cohort(clients, drawing(size), seed, number)
    assert len(cohort) == min(size, people)
    assert len(set(cohort.tolist())) == len(cohort)
    assert set(cohort.tolist()) <= set(clients.tolist())
    assert np.array_equal(cohort, sample_cohort(clients, drawing(size), seed, number))


def test_rounds_and_seeds_draw_different_cohorts():
    clients = np.arange(1000)
    for sampling in ("random", "epochs"):
        federated = drawing(10, sampling)
        drawn = {
            tuple(sample_cohort(clients, federated, seed, n)) for seed in range(4) for n in (0, 1, 99, 100)
        }
        assert len(drawn) == 16


def test_everybody_is_drawn_equally_often():
    drawn = np.concatenate([sample_cohort(np.arange(40), drawing(10), 7, number) for number in range(1000)])
    assert chisquare(np.bincount(drawn, minlength=40)).pvalue > 1e-3


@given(st.integers(1, 60), st.integers(1, 80), SEEDS, st.integers(0, 99))
def test_an_epoch_invites_everybody_once_in_equal_cohorts(people, size, seed, epoch):
    clients = np.arange(people) * 3 + 5
    rounds = -(-people // size)
    numbers = range(epoch * rounds, (epoch + 1) * rounds)
    cohorts = [sample_cohort(clients, drawing(size, "epochs"), seed, number) for number in numbers]
    assert sorted(np.concatenate(cohorts).tolist()) == clients.tolist()
    lengths = {len(cohort) for cohort in cohorts}
    assert max(lengths) <= size
    assert max(lengths) - min(lengths) <= 1


def test_in_an_epoch_everybody_is_as_often_first_as_last():
    federated = drawing(10, "epochs")
    drawn = np.concatenate([sample_cohort(np.arange(40), federated, 7, 4 * epoch) for epoch in range(1000)])
    assert chisquare(np.bincount(drawn, minlength=40)).pvalue > 1e-3


@given(st.floats(0, 0.99), SEEDS, ROUNDS)
def test_those_who_answer_are_part_of_the_cohort_in_order(unavailable, seed, number):
    cohort = np.array([9, 4, 7, 1, 8])
    answering = who_answers(cohort, unavailable, seed, number)
    assert np.array_equal(answering, cohort[np.isin(cohort, answering)])
    assert np.array_equal(answering, who_answers(cohort, unavailable, seed, number))
    assert len(who_answers(cohort, 0.0, seed, number)) == 5


def test_the_share_that_answers_is_as_configured():
    answering = [len(who_answers(np.arange(100), 0.3, 1, number)) for number in range(100)]
    assert abs(np.mean(answering) - 70) < 4 * np.sqrt(100 * 0.3 * 0.7 / 100)
    assert len(set(answering)) > 5


@given(SEEDS, st.lists(st.one_of(st.integers(), st.text(max_size=5)), max_size=3))
def test_a_derived_seed_depends_on_every_label(seed, labels):
    one = derive(seed, *labels)
    assert 0 <= one < 2**63
    assert one == derive(seed, *labels)
    assert one != derive(seed + 1, *labels)
    assert one != derive(seed, *labels, "more")
