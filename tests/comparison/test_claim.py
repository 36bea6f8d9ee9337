"""The claim about the Dynamic Magnitude Loss: a ratio where it has a meaning, and what is said about it."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pfsr.comparison.claim import Claim, compare_gains, verdict
from pfsr.evaluation.intervals import Interval

PEOPLE = 400


def draws(mean, spread, seed):
    return mean + spread * np.random.default_rng(seed).standard_normal(PEOPLE)


def test_the_ratio_has_the_interval_of_the_delta_method():
    without = draws(0.2, 0.5, 1)
    gain = 1.5 * without + draws(0.05, 0.3, 2)
    found = compare_gains(gain, without)
    ratio = gain.mean() / without.mean()
    spread = (gain - ratio * without).std() / without.mean() / np.sqrt(PEOPLE)
    assert found.kind == "ratio"
    assert found.found.mean == pytest.approx(ratio)
    assert found.found.high - found.found.low == pytest.approx(2 * 1.96 * spread, rel=0.2)


def test_people_are_resampled_together():
    # Unpaired, the interval would be as wide as that of either mean.
    without = draws(0.2, 0.5, 1)
    found = compare_gains(1.4 * without, without).found
    assert (found.low, found.mean, found.high) == pytest.approx((1.4, 1.4, 1.4))


@pytest.mark.parametrize("level", [0.0, -0.2])
def test_without_a_divisor_above_0_there_is_a_difference(level):
    without = draws(level, 0.5, 1)
    gain = without + draws(0.1, 0.2, 2)
    found = compare_gains(gain, without)
    spread = (gain - without).std() / np.sqrt(PEOPLE)
    assert found.kind == "difference"
    assert found.found.mean == pytest.approx((gain - without).mean())
    assert found.found.low == pytest.approx((gain - without).mean() - 1.96 * spread, abs=spread / 3)
    assert verdict(found) == "the difference is above 0"


@settings(max_examples=15)
@given(st.lists(st.floats(-1, 1), min_size=1, max_size=6), st.integers(0, 9))
def test_an_interval_is_never_inside_out_nor_undefined(values, seed):
    gain = np.array(values)
    found = compare_gains(gain, np.random.default_rng(seed).permutation(gain) + 0.3).found
    assert found.low <= found.high


@pytest.mark.parametrize(
    ("kind", "low", "high", "said"),
    [
        ("ratio", 1.3, 1.6, "claim of +30 % held"),
        ("ratio", 1.29, 1.6, "not shown"),
        ("ratio", 0.9, 1.3, "not shown"),
        ("ratio", 0.9, 1.29, "refuted"),
        ("ratio", 1.4, float("inf"), "claim of +30 % held"),
        ("difference", 0.01, 0.2, "the difference is above 0"),
        ("difference", -0.01, 0.2, "the difference is not clear of 0"),
        ("difference", 0.0, 0.2, "the difference is not clear of 0"),
        ("difference", -0.3, -0.2, "the difference is below 0"),
    ],
)
def test_the_verdict_follows_the_interval(kind, low, high, said):
    assert verdict(Claim(kind, Interval((low + high) / 2, low, high))) == said
