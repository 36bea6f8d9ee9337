"""What a client computes against an independent dense model: torch's own layers, autograd, float64.

The dense model knows no batch, no padding, no chunks and no local item table: one client, one quadratic
kernel over its events, the whole catalogue.
"""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from pfsr.config import Config, ModelConfig
from pfsr.federated.batch import ClientBatch
from pfsr.federated.view import Broadcast

Client = tuple[Tensor, Tensor, Tensor]
"""Items read, targets, and what each target does not compete with."""

both_rules = pytest.mark.parametrize("seen", ["left_out", "kept"])


def dense_loss(
    weights: dict[str, Tensor],
    offsets: dict[str, Tensor],
    client: Client,
    config: Config,
    negatives: Tensor | None,
) -> Tensor:
    """Mean next-item loss of one client."""
    items_L, targets_L, out_of_play_LI = client
    personal = {name: w + offsets.get(name, torch.zeros(())) for name, w in weights.items()}
    x_Ld = F.embedding(items_L, weights["items"]) * math.sqrt(config.model.d_model)
    for index in range(config.model.blocks):
        prefix = f"blocks.{index}."
        block = {n.removeprefix(prefix): w for n, w in personal.items() if n.startswith(prefix)}
        x_Ld = x_Ld + dense_block(block, x_Ld, config.model)
    query = normed(x_Ld) * personal["scale"] + offsets.get("user", torch.zeros(()))
    logits_LI = query @ weights["items"].T + weights["item_bias"]
    logits_LI = logits_LI.masked_fill(out_of_play_LI, -torch.inf)
    if negatives is None:
        return F.cross_entropy(logits_LI[:, 1:], targets_L - 1)
    catalogue = len(weights["items"]) - 1
    others = logits_LI[:, negatives] + math.log(catalogue / len(negatives))
    others = others.masked_fill(negatives == targets_L[:, None], -torch.inf)
    own = logits_LI.gather(1, targets_L[:, None])
    return F.cross_entropy(torch.cat([own, others], 1), torch.zeros_like(targets_L))


def dense_block(w: dict[str, Tensor], x_Ld: Tensor, config: ModelConfig) -> Tensor:
    flipped = config.view == "associative"
    inner, heads, n = config.d_model * config.expand, config.heads, config.d_state
    sizes = [inner, inner, n, n, n, heads, heads] if flipped else [inner, inner, n, n, heads]
    bias = F.pad(w["project_bias"], (inner, heads * (2 if flipped else 1)))
    u, z, b, cf, *rest = (normed(x_Ld) * w["norm"] @ w["project"] + bias).split(sizes, -1)
    step = rest[1] if flipped else rest[0]
    padded = F.pad(u.T, (config.d_conv - 1, 0))[None]
    mixed = F.silu(F.conv1d(padded, w["conv"].T[:, None], w["conv_bias"], groups=inner)[0].T)
    delta_LH = F.softplus(step + w["step_bias"])
    a_LH = -(F.softplus(w["decay"]) * delta_LH).clamp(max=2.5)
    v_LHP = delta_LH[..., None] * mixed.view(-1, heads, inner // heads)
    y = torch.einsum("tih,ti,ihp->thp", kernel(a_LH), cf @ b.T, v_LHP).flatten(1)
    if flipped:
        cg, gate = rest[0], rest[2]
        partly = flipped_kernel(a_LH, F.softplus(w["flip"]), config.horizon)
        seen = torch.einsum("tih,ti,ihp->thp", partly, cg @ b.T, v_LHP).flatten(1)
        rho = torch.sigmoid(gate + w["gate_bias"]).repeat_interleave(inner // heads, -1)
        y = (1 - rho) * y + rho * normed(seen) * w["flip_norm"]
    return ((y + w["skip"] * mixed) * F.silu(z)) @ w["out"] * w["out_scale"]


def kernel(a_LH: Tensor) -> Tensor:
    """exp(S_t - S_i) where i <= t, else 0: [t, i, head]."""
    total = a_LH.cumsum(0)
    steps = torch.arange(len(a_LH))
    future = (steps[None] > steps[:, None])[..., None]
    return (total[:, None] - total[None]).masked_fill(future, -torch.inf).exp()


def flipped_kernel(a_LH: Tensor, eta_H: Tensor, horizon: int) -> Tensor:
    """The same for the last ``horizon`` events; exp(S_t - S_m) exp(eta S_{i-1}) for those before."""
    total = a_LH.cumsum(0)
    steps = torch.arange(len(a_LH))
    old = (steps[None] <= steps[:, None] - horizon)[..., None]
    at_m = torch.cat([total.new_zeros(horizon, total.shape[1]), total])[: len(total)]
    far = (total - at_m)[:, None] + (eta_H * (total - a_LH))[None]
    return torch.where(old, far.exp(), kernel(a_LH))


def normed(x: Tensor) -> Tensor:
    return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + 1e-6)


def descend(
    broadcast: Broadcast, offsets: dict[str, Tensor], client: Client, config: Config
) -> tuple[dict, float]:
    """Plain SGD of the dense model: how far every tensor moved, and the loss before."""
    start = {name: w.double() for name, w in broadcast.weights.items()}
    weights, first = start, None
    for _ in range(config.federated.local_steps):
        weights = {name: w.detach().requires_grad_() for name, w in weights.items()}
        loss = dense_loss(weights, offsets, client, config, broadcast.negatives)
        first = float(loss.detach()) if first is None else first
        grads = torch.autograd.grad(loss, list(weights.values()))
        rate = config.federated.local_rate
        weights = {n: w - rate * g for (n, w), g in zip(weights.items(), grads, strict=True)}
    assert first is not None
    return {name: weights[name].detach() - start[name] for name in start}, first


def stretches(world) -> ClientBatch:
    """Everybody's training events; the longest history gives a stretch of its middle."""
    batch = world.batch(first_seed=5)
    assert 0 < len(batch.before[5]) < len(world.people[5]) - 17
    return batch


def client_of(world, config: Config, batch: ClientBatch, row: int) -> Client:
    length = batch.lengths[row]
    out_of_play_LI = world.out_of_play(config, batch, row)
    return batch.items_BL[row, :length], batch.targets_BL[row, :length], out_of_play_LI


@pytest.mark.parametrize("view", ["associative", "forward"])
@pytest.mark.parametrize("loss", ["full", "sampled"])
@pytest.mark.parametrize("steps", [1, 3])
@both_rules
def test_shared_movement_is_sgd_of_the_dense_model(world, view, loss, steps, seen):
    config = world.config(
        model={"view": view},
        objective={"loss": loss, "seen": seen},
        response={"mode": "off"},
        federated={"local_steps": steps, "local_rate": 0.3},
    )
    broadcast, batch = world.broadcast(config, torch.float64), stretches(world)
    updates, _ = world.learn(config, world.private(config), batch, broadcast)
    for row in range(len(batch.lengths)):
        expected, before = descend(broadcast, {}, client_of(world, config, batch, row), config)
        actual = world.dense(updates, row, broadcast)
        assert set(actual) == set(expected)
        for name, moved in expected.items():
            torch.testing.assert_close(actual[name], moved, rtol=1e-6, atol=1e-9, msg=lambda m, n=name: n + m)
        assert float(updates.loss_B[row]) == pytest.approx(before, rel=1e-6)


@pytest.mark.parametrize("view", ["associative", "forward"])
@pytest.mark.parametrize("loss", ["full", "sampled"])
@pytest.mark.parametrize("steps", [1, 3])
@both_rules
def test_both_phases_of_a_step_start_from_the_same_weights_and_offsets(world, view, loss, steps, seen):
    config = world.config(
        model={"view": view},
        objective={"loss": loss, "seen": seen},
        federated={"local_steps": steps, "local_rate": 0.3},
        response={"rate": 0.2},
    )
    broadcast, batch = world.broadcast(config, torch.float64), stretches(world)
    before = world.private(config)
    updates, after = world.learn(config, before, batch, broadcast)
    sites = world.sites(config)
    for row, history in enumerate(world.people):
        events = len(history) - 1
        damping_S = events / (events * after.fisher_BS[row] + 1 / sites.spread(broadcast.spread_G))
        start = {name: w.double() for name, w in broadcast.weights.items()}
        weights, offsets_S = start, before.offsets_BS[row].double()
        for _ in range(steps):
            weights = {name: w.detach().requires_grad_() for name, w in weights.items()}
            offsets_S = offsets_S.detach().requires_grad_()
            client = client_of(world, config, batch, row)
            value = dense_loss(weights, sites.split(offsets_S), client, config, broadcast.negatives)
            offset_grad, *grads = torch.autograd.grad(value, [offsets_S, *weights.values()])
            pull_S = offsets_S / (events * sites.spread(broadcast.spread_G))
            offsets_S = offsets_S - 0.2 * damping_S * (offset_grad + pull_S)
            weights = {n: w - 0.3 * g for (n, w), g in zip(weights.items(), grads, strict=True)}
        torch.testing.assert_close(after.offsets_BS[row].double(), offsets_S.detach(), rtol=1e-3, atol=1e-5)
        for name, moved in world.dense(updates, row, broadcast).items():
            expected = (weights[name] - start[name]).detach()
            torch.testing.assert_close(
                moved.double(), expected, rtol=1e-3, atol=1e-5, msg=lambda m, n=name: n + m
            )


@pytest.mark.parametrize("magnitude", ["dynamic", "prox", "off"])
@both_rules
def test_offsets_take_a_damped_step_down_the_personal_objective(world, magnitude, seen):
    """e' = e - rate T / (T F + 1 / tau^2) grad J, J the dense model's mean loss plus the pull."""
    objective = {"magnitude": magnitude, "prox": 3.0, "seen": seen}
    config = world.config(objective=objective, response={"rate": 0.2})
    sites, batch, before = world.sites(config), stretches(world), world.private(config)
    broadcast = world.broadcast(config, torch.float64)
    broadcast = broadcast._replace(spread_G=torch.linspace(0.01, 0.5, len(broadcast.spread_G)))
    _, after = world.learn(config, before, batch, broadcast)
    constant = {"prox": torch.tensor(1 / 3), "off": torch.tensor(1e3)}
    spread_S = sites.spread(broadcast.spread_G) if magnitude == "dynamic" else constant[magnitude]
    weights = {name: w.double() for name, w in broadcast.weights.items()}
    for row, history in enumerate(world.people):
        events = len(history) - 1
        offsets_S = before.offsets_BS[row].double().requires_grad_()
        client = client_of(world, config, batch, row)
        loss = dense_loss(weights, sites.split(offsets_S), client, config, None)
        objective = loss + (offsets_S**2 / spread_S).sum() / (2 * events)
        (gradient_S,) = torch.autograd.grad(objective, offsets_S)
        damping_S = events / (events * after.fisher_BS[row] + 1 / spread_S)
        expected_S = offsets_S.detach() - 0.2 * damping_S * gradient_S
        torch.testing.assert_close(after.offsets_BS[row].double(), expected_S, rtol=1e-3, atol=1e-5)
