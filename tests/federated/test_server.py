"""Server optimizers against torch.optim and against the formulas of their paper."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import Tensor

from pfsr.config import FederatedConfig
from pfsr.federated.server import empty_moments, server_rate, server_step
from pfsr.model.amb import Weights

STEPS, RATE = 25, 0.05


def make_config(server: str, **more) -> FederatedConfig:
    return FederatedConfig.model_validate(
        {"server": server, "server_rate": RATE, "warmup": 0, "final_rate": 1.0, "rounds": STEPS, **more}
    )


def problem() -> tuple[Weights, list[Weights]]:
    random = torch.Generator().manual_seed(0)

    def draw() -> Weights:
        shapes = {"matrix": (3, 4), "vector": (5,)}
        return {n: torch.randn(s, generator=random, dtype=torch.float64) for n, s in shapes.items()}

    return draw(), [draw() for _ in range(STEPS)]


def run(config: FederatedConfig, weights: Weights, gradients: list[Weights]) -> Weights:
    moments = empty_moments(weights)
    for number, gradient in enumerate(gradients):
        weights, moments = server_step(weights, moments, gradient, config, number)
    return weights


def run_torch(optimizer_of, weights: Weights, gradients: list[Weights]) -> dict[str, Tensor]:
    leaves = {name: w.clone().requires_grad_() for name, w in weights.items()}
    optimizer = optimizer_of(list(leaves.values()))
    for gradient in gradients:
        for name, leaf in leaves.items():
            leaf.grad = gradient[name].clone()
        optimizer.step()
    return {name: leaf.detach() for name, leaf in leaves.items()}


@pytest.mark.parametrize(
    ("server", "optimizer_of"),
    [
        ("fedavg", lambda leaves: torch.optim.SGD(leaves, lr=RATE)),
        ("fedavgm", lambda leaves: torch.optim.SGD(leaves, lr=RATE, momentum=0.9)),
        ("fedadam", lambda leaves: torch.optim.Adam(leaves, lr=RATE, betas=(0.9, 0.98), eps=1e-2)),
    ],
)
def test_server_is_the_optimizer_of_its_name(server, optimizer_of):
    weights, gradients = problem()
    actual = run(make_config(server, adaptivity=1e-2), weights, gradients)
    expected = run_torch(optimizer_of, weights, gradients)
    for name, value in expected.items():
        torch.testing.assert_close(actual[name], value, rtol=1e-9, atol=1e-12)


def test_fedyogi_is_the_formula_of_its_paper():
    weights, gradients = problem()
    actual = run(make_config("fedyogi", adaptivity=0.3), weights, gradients)["matrix"]
    w = weights["matrix"].numpy().copy()
    m, v = np.zeros_like(w), np.zeros_like(w)
    for t, gradient in enumerate(gradients, start=1):
        g = gradient["matrix"].numpy()
        m = 0.9 * m + 0.1 * g
        v = v - 0.02 * g**2 * np.sign(v - g**2)
        w -= RATE * (m / (1 - 0.9**t)) / (np.sqrt(v / (1 - 0.98**t)) + 0.3)
    np.testing.assert_allclose(actual.numpy(), w, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("server", ["fedavg", "fedavgm", "fedadam", "fedyogi"])
def test_a_step_changes_nothing_in_place(server):
    weights, gradients = problem()
    moments = empty_moments(weights)
    before = {name: w.clone() for name, w in weights.items()}
    server_step(weights, moments, gradients[0], make_config(server), 0)
    assert all(torch.equal(w, before[name]) for name, w in weights.items())
    assert all(float(m.abs().max()) == 0 for kind in moments for m in kind.values())


def test_small_pushes_undo_a_rare_large_one_unless_adaptivity_is_above_them():
    start, push = {"item": torch.zeros(1)}, {"item": torch.full((1,), 1e-5)}
    gradients = [{"item": torch.full((1,), -1e-2)}, *[push] * 300]
    kept = run(make_config("fedadam", adaptivity=1e-3, rounds=301), start, gradients)["item"]
    lost = run(make_config("fedadam", rounds=301), start, gradients)["item"]
    assert lost < 0 < kept


@pytest.mark.parametrize("server", ["fedadam", "fedyogi"])
def test_a_weight_nobody_ever_moves_stays(server):
    weights, gradients = problem()
    still = [{name: g * 0 for name, g in gradient.items()} for gradient in gradients]
    after = run(make_config(server), weights, still)
    assert all(torch.equal(after[name], w) for name, w in weights.items())


def test_rate_warms_up_and_falls_along_a_cosine_to_its_final_share():
    config = make_config("fedadam", warmup=10, rounds=100, final_rate=0.2)
    rates = [server_rate(config, number) for number in range(100)]
    assert rates[0] == pytest.approx(RATE / 10)
    assert max(rates) < RATE
    assert rates[50] == pytest.approx(RATE * 0.6)
    assert server_rate(config, 100) == pytest.approx(RATE * 0.2)
    assert all(one < two for one, two in pairwise(rates[:10]))
    assert all(one > two for one, two in pairwise(rates[10:]))
