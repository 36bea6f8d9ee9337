"""The three forms of the scan against the formulas, written once more as loops over single events."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from pfsr.model.scan import (
    CHUNK,
    MAX_DECAY,
    ScanInputs,
    chunk_size,
    empty_state,
    scan_chunked,
    scan_sequential,
    scan_step,
)

HEADS, PER_HEAD, COLUMNS = 2, 2, 3


def make_inputs(
    length: int, batch: int = 2, seed: int = 0, decay: float = MAX_DECAY, flipped: bool = True
) -> ScanInputs:
    """Random float64 inputs, log-decays between -``decay`` and 0."""
    random = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=random, dtype=torch.float64)

    a = -decay * torch.rand(batch, length, HEADS, generator=random, dtype=torch.float64) ** 3
    eta = torch.rand(batch, HEADS, generator=random, dtype=torch.float64)
    step = 0.05 + torch.rand(batch, length, HEADS, generator=random, dtype=torch.float64)
    x, b = normal(batch, length, HEADS * PER_HEAD), normal(batch, length, COLUMNS)
    cf, cg = normal(batch, length, COLUMNS), normal(batch, length, COLUMNS)
    return ScanInputs(a, step, x, b, cf, cg if flipped else None, eta if flipped else None)


def as_type(inputs: ScanInputs, dtype: torch.dtype) -> ScanInputs:
    return ScanInputs._make(None if part is None else part.to(dtype) for part in inputs)


def event_of(inputs: ScanInputs, t: int) -> ScanInputs:
    """Event ``t`` alone, L = 1."""
    parts = [None if part is None else part[:, t : t + 1] for part in inputs[:6]]
    return ScanInputs._make([*parts, inputs.eta_BH])


def oracle(inputs: ScanInputs, horizon: int) -> tuple[np.ndarray, np.ndarray]:
    """h_t, g_m and s_t = h_t + exp(S_t - S_m)(g_m - h_m), one client, one head, one event at a time."""
    a, step, x, b, cf, cg, eta = (np.asarray(part, dtype=np.float64) for part in inputs if part is not None)
    y_h, y_s = np.zeros_like(x), np.zeros_like(x)
    for client in range(len(a)):
        for head in range(HEADS):
            own = slice(head * PER_HEAD, (head + 1) * PER_HEAD)
            total = np.concatenate([[0.0], np.cumsum(a[client, :, head])])
            h, g = [np.zeros((PER_HEAD, COLUMNS))], [np.zeros((PER_HEAD, COLUMNS))]
            for t in range(1, a.shape[1] + 1):
                v = step[client, t - 1, head] * np.outer(x[client, t - 1, own], b[client, t - 1])
                h.append(np.exp(total[t] - total[t - 1]) * h[t - 1] + v)
                g.append(g[t - 1] + np.exp(eta[client, head] * total[t - 1]) * v)
                m = max(t - horizon, 0)
                s = h[t] + np.exp(total[t] - total[m]) * (g[m] - h[m])
                y_h[client, t - 1, own] = h[t] @ cf[client, t - 1]
                y_s[client, t - 1, own] = s @ cg[client, t - 1]
    return y_h, y_s


def by_steps(inputs: ScanInputs, horizon: int) -> tuple[Tensor, Tensor]:
    batch, length, _ = inputs.a_BLH.shape
    state = empty_state(batch, HEADS, HEADS * PER_HEAD, COLUMNS, horizon, inputs.x_BLD)
    outputs = []
    for t in range(length):
        state, *read = scan_step(state, event_of(inputs, t))
        outputs.append(read)
    y_h, y_s = zip(*outputs, strict=True)
    return torch.stack(y_h, 1), torch.stack(y_s, 1)


def assert_near(actual: Tensor | None, expected: np.ndarray | Tensor, relative: float) -> None:
    assert actual is not None
    wanted = torch.as_tensor(expected, dtype=torch.float64)
    scale = float(wanted.abs().max())
    torch.testing.assert_close(actual.double(), wanted, rtol=relative, atol=relative * scale)


@settings(max_examples=60, deadline=None)
@given(
    length=st.integers(1, 90),
    horizon=st.integers(1, 7),
    chunk=st.integers(1, 100),
    batch=st.integers(1, 3),
    seed=st.integers(0, 2**31),
)
def test_chunked_is_the_definition_at_any_length_horizon_and_chunk(length, horizon, chunk, batch, seed):
    inputs = make_inputs(length, batch, seed)
    expected_h, expected_s = oracle(inputs, horizon)
    y_h, y_s = scan_chunked(inputs, horizon, chunk)
    assert_near(y_h, expected_h, 1e-9)
    assert_near(y_s, expected_s, 1e-9)


@pytest.mark.parametrize("horizon", [1, 2, 5, 7])
@pytest.mark.parametrize("length", [1, 6, 40])
@pytest.mark.parametrize("form", [scan_sequential, by_steps])
def test_event_by_event_forms_are_the_definition(form, length, horizon):
    inputs = make_inputs(length, seed=length)
    expected_h, expected_s = oracle(inputs, horizon)
    y_h, y_s = form(inputs, horizon)
    assert_near(y_h, expected_h, 1e-9)
    assert_near(y_s, expected_s, 1e-9)


@pytest.mark.parametrize("length", [1, 7, CHUNK, CHUNK + 1, 200, 1000])
@pytest.mark.parametrize("decay", [MAX_DECAY, 0.1])
def test_float32_is_near_the_definition(length, decay):
    inputs = make_inputs(length, seed=length, decay=decay)
    single = as_type(inputs, torch.float32)
    expected_h, expected_s = oracle(inputs, 5)
    for form in (scan_chunked, scan_sequential):
        y_h, y_s = form(single, 5)
        assert_near(y_h, expected_h, 1e-4)
        assert_near(y_s, expected_s, 1e-4)


@pytest.mark.parametrize("decay", [MAX_DECAY, 0.02, 0.0])
def test_forms_agree_over_four_thousand_events(decay):
    inputs = make_inputs(4000, batch=1, decay=decay)
    slow_h, slow_s = scan_sequential(inputs, 5)
    assert slow_s is not None
    for chunk in (CHUNK, 64):
        y_h, y_s = scan_chunked(inputs, 5, chunk)
        assert_near(y_h, slow_h, 1e-9)
        assert_near(y_s, slow_s, 1e-9)
    single_h, single_s = scan_chunked(as_type(inputs, torch.float32), 5)
    assert_near(single_h, slow_h, 1e-4)
    assert_near(single_s, slow_s, 1e-4)


def test_events_of_no_step_leave_no_trace_and_no_gradient_that_is_not_finite():
    inputs = as_type(make_inputs(60), torch.float32)
    silent = torch.arange(60) % 3 == 1
    inputs.step_BLH[:, silent] = 0
    other = inputs._replace(x_BLD=torch.where(silent[:, None], torch.tensor(1e6), inputs.x_BLD))
    for one, again in zip(scan_chunked(inputs, 5), scan_chunked(other, 5), strict=True):
        assert_near(again, one, 1e-6)
    assert all(bool(grad.isfinite().all()) for grad in gradients(other, scan_chunked))


def test_forward_view_reads_the_same_h_and_no_flipped_state():
    inputs = make_inputs(50)
    both_h, _ = scan_chunked(inputs, 3)
    for form in (scan_chunked, scan_sequential):
        only_h, nothing = form(inputs._replace(cg_BLN=None, eta_BH=None), 3)
        assert nothing is None
        assert_near(only_h, both_h, 1e-9)


def gradients(inputs: ScanInputs, form, horizon: int = 5) -> list[Tensor]:
    leaves = [p.clone().requires_grad_() for p in inputs if p is not None]
    given = ScanInputs._make([*leaves, None, None] if inputs.cg_BLN is None else leaves)
    y_h, y_s = form(given, horizon)
    return list(torch.autograd.grad((y_h.sin() + (0 if y_s is None else y_s.cos())).sum(), leaves))


@pytest.mark.parametrize("flipped", [True, False])
@pytest.mark.parametrize(("length", "horizon"), [(2, 1), (7, 1), (8, 5), (25, 24), (50, 5), (70, 3)])
def test_gradients_of_chunked_are_those_of_the_definition(length, horizon, flipped):
    inputs = make_inputs(length, seed=3, flipped=flipped)
    both = (gradients(inputs, form, horizon) for form in (scan_chunked, scan_sequential))
    for chunked, sequential in zip(*both, strict=True):
        assert_near(chunked, sequential, 1e-9)


@settings(max_examples=200, deadline=None)
@given(length=st.integers(1, 5000), most=st.integers(1, 100))
def test_a_chunk_is_within_its_limits_and_wastes_little(length, most):
    size = chunk_size(length, most)
    assert 1 <= size <= min(length, most)
    assert most < 4 or -(-length // size) * size <= 1.5 * length


def test_common_windows_are_cut_without_padding():
    assert all(length % chunk_size(length) == 0 for length in (50, 100, 200, 500, 1000, 4000, 10000))


@pytest.mark.parametrize("decay", [0.0, -MAX_DECAY])
def test_values_and_gradients_stay_finite_at_the_extremes(decay):
    inputs = as_type(make_inputs(4000, batch=1), torch.float32)
    inputs = inputs._replace(a_BLH=torch.full_like(inputs.a_BLH, decay))
    y_h, y_s = scan_chunked(inputs, 5)
    assert y_s is not None
    assert bool(y_h.isfinite().all())
    assert bool(y_s.isfinite().all())
    assert all(bool(g.isfinite().all()) for g in gradients(inputs, scan_chunked))


def test_float32_gradients_are_right_where_every_event_decays_most():
    inputs = make_inputs(100, batch=1)
    inputs = inputs._replace(a_BLH=torch.full_like(inputs.a_BLH, -MAX_DECAY))
    exact = gradients(inputs, scan_sequential)
    single = gradients(as_type(inputs, torch.float32), scan_chunked)
    for rough, wanted in zip(single, exact, strict=True):
        assert_near(rough, wanted, 1e-3)


@pytest.mark.parametrize("horizon", [1, 5])
def test_past_outputs_do_not_depend_on_later_events(horizon):
    inputs = make_inputs(80, batch=1)
    leaves = [p.clone().requires_grad_() for p in inputs[:6] if p is not None]
    y_h, y_s = scan_chunked(ScanInputs._make([*leaves, inputs.eta_BH]), horizon, 16)
    assert y_s is not None
    past = (y_h[:, :41] ** 2).sum() + (y_s[:, :41] ** 2).sum()
    for grad in torch.autograd.grad(past, leaves):
        assert float(grad[:, 41:].abs().max()) == 0
        assert float(grad[:, :41].abs().max()) > 0


def test_state_does_not_grow_with_the_history():
    inputs = make_inputs(30)
    state = empty_state(2, HEADS, HEADS * PER_HEAD, COLUMNS, 4, inputs.x_BLD)
    sizes = [tuple(part.shape) for part in state]
    for t in range(30):
        state, _, _ = scan_step(state, event_of(inputs, t))
    assert [tuple(part.shape) for part in state] == sizes
