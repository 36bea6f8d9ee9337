import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pfsr.config import ObjectiveConfig
from pfsr.model.magnitude import (
    FIRST_LIMIT,
    LEAST_SPREAD,
    MOST_SPREAD,
    next_limits,
    next_spread,
    offset_spread,
    project,
    pull,
    spread_contribution,
)
from pfsr.model.response import Sites

SITES = Sites(("a", "b"), (2, 3))


def test_spread_is_dynamic_constant_or_without_pull():
    spread_G = torch.tensor([0.1, 0.4])
    dynamic = offset_spread(spread_G, SITES, ObjectiveConfig(magnitude="dynamic"))
    torch.testing.assert_close(dynamic, torch.tensor([0.1, 0.1, 0.4, 0.4, 0.4]))
    prox = offset_spread(spread_G, SITES, ObjectiveConfig(magnitude="prox", prox=4.0))
    torch.testing.assert_close(prox, torch.full((5,), 0.25))
    off = offset_spread(spread_G, SITES, ObjectiveConfig(magnitude="off"))
    assert float(off.min()) >= 1e3


def test_pull_is_the_gradient_of_the_personal_term():
    random = torch.Generator().manual_seed(0)
    offsets = torch.randn(3, 5, generator=random, dtype=torch.float64).requires_grad_()
    events, spread = torch.tensor([2.0, 5.0, 400.0]).double(), torch.rand(5, generator=random).double()
    term = (offsets**2 / spread / (2 * events[:, None])).sum()
    (expected,) = torch.autograd.grad(term, offsets)
    torch.testing.assert_close(pull(offsets.detach(), events, spread), expected)


def test_contribution_is_one_clipped_number_per_group():
    offsets = torch.tensor([[0.1, 0.3, 0.0, 0.0, 0.0], [9.0, 9.0, 0.0, 0.0, 0.0]])
    fisher = torch.zeros(2, 5)
    fisher[0, 2:] = 1e9
    events, spread = torch.tensor([10.0, 10.0]), torch.full((5,), 0.02)
    actual = spread_contribution(offsets, fisher, events, spread, SITES)
    expected = torch.tensor([[(0.01 + 0.09) / 2 + 0.02, LEAST_SPREAD], [MOST_SPREAD, 0.02]])
    torch.testing.assert_close(actual, expected)


@given(
    st.lists(st.floats(LEAST_SPREAD, MOST_SPREAD), min_size=2, max_size=2),
    st.lists(st.floats(0, 1e6), min_size=2, max_size=2),
)
def test_spread_follows_the_mean_inside_its_range(spread, mean):
    after = next_spread(torch.tensor(spread), torch.tensor(mean))
    assert bool((after >= torch.tensor(LEAST_SPREAD)).all() and (after <= MOST_SPREAD).all())
    wanted = 0.8 * torch.tensor(spread) + 0.2 * torch.tensor(mean)
    inside = (wanted > LEAST_SPREAD) & (wanted < MOST_SPREAD)
    torch.testing.assert_close(after[inside], wanted[inside])


def test_spread_settles_at_what_clients_report():
    spread, reported = torch.tensor([0.01]), torch.tensor([0.3])
    for _ in range(60):
        spread = next_spread(spread, reported)
    torch.testing.assert_close(spread, reported, rtol=1e-4, atol=0)


def reach_of(weight: torch.Tensor, limit: float) -> float:
    return limit * max(float(weight.norm()), 0.02 * weight.numel() ** 0.5)


@given(
    shape=st.lists(st.integers(1, 4), min_size=1, max_size=2),
    size=st.floats(0, 50),
    limit=st.floats(1e-4, 10),
    seed=st.integers(0, 2**31),
)
def test_projection_never_exceeds_the_limit_and_keeps_direction(shape, size, limit, seed):
    random = torch.Generator().manual_seed(seed)
    weight = size * torch.randn(shape, generator=random, dtype=torch.float64)
    delta = torch.randn(3, *shape, generator=random, dtype=torch.float64)
    delta[1] *= 1e-6
    delta[2] = 0
    before = delta.clone()
    after, within = project(delta, weight, torch.tensor(limit, dtype=torch.float64))
    reach = reach_of(weight, limit)
    norms_before, norms_after = before.flatten(1).norm(dim=1), after.flatten(1).norm(dim=1)
    assert bool((norms_after <= reach * (1 + 1e-9)).all())
    assert within.tolist() == [float(n <= reach) for n in norms_before.tolist()]
    torch.testing.assert_close(norms_after, norms_before.clamp(max=reach))
    ratio = (norms_after / norms_before.clamp(min=1e-30)).view(-1, *[1] * len(shape))
    torch.testing.assert_close(after, before * ratio)
    assert float(after[2].abs().max()) == 0
    assert within[2] == 1


def test_a_weight_of_zero_may_still_move():
    delta, within = project(torch.ones(1, 4), torch.zeros(4), torch.tensor(1.0))
    assert float(delta.norm()) == pytest.approx(0.02 * 2)
    assert within.tolist() == [0]


@pytest.mark.parametrize("quantile", [0.5, 0.9])
def test_limits_converge_to_the_quantile_of_movements(quantile):
    random = torch.Generator().manual_seed(0)
    scale = torch.tensor([1e-4, 0.05])
    limits = torch.full((2,), FIRST_LIMIT)
    for _ in range(300):
        movements = scale * torch.randn(256, 2, generator=random).exp()
        limits = next_limits(limits, (movements <= limits).float().mean(0), quantile)
    normal = torch.distributions.Normal(0, 1)
    expected = scale * normal.icdf(torch.tensor(quantile)).exp()
    assert bool(((limits / expected).log().abs() < 0.25).all())


@given(st.floats(1e-6, 1e3), st.floats(0.01, 0.99))
def test_limits_rise_when_too_few_stay_under_and_fall_when_too_many_do(limit, quantile):
    limits = torch.tensor([limit] * 3, dtype=torch.float64)
    within = torch.tensor([0.0, quantile, 1.0], dtype=torch.float64)
    rise, stay, fall = next_limits(limits, within, quantile).tolist()
    assert rise > limit > fall > 0
    assert stay == pytest.approx(limit)
