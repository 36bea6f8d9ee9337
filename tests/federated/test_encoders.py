"""Clients learn alike whatever encoder reads their sequences."""

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from pfsr.federated.client import adapt
from pfsr.federated.view import Broadcast
from pfsr.model.encoder import encode

ENCODERS: dict[str, dict[str, Any]] = {
    "amb and ffn": {"ffn": 2},
    "sasrec": {"encoder": "sasrec", "positions": 10},
    "gru4rec": {"encoder": "gru4rec"},
    "mamba4rec": {"encoder": "mamba4rec"},
    "lrurec": {"encoder": "lrurec"},
}
Client = tuple[Tensor, Tensor, Tensor]
"""Items read, targets, and what each target does not compete with."""

every_encoder = pytest.mark.parametrize("model", ENCODERS.values(), ids=ENCODERS)


def mean_loss(weights: dict[str, Tensor], client: Client, model) -> Tensor:
    """Mean next-item loss of one client under one set of weights: no batch, no padding."""
    items_L, targets_L, out_of_play_LI = client
    x_1Ld = F.embedding(items_L[None], weights["items"]) * math.sqrt(model.d_model)
    query_Ld = encode(weights, x_1Ld, items_L[None] > 0, model)[0]
    logits_LI = query_Ld @ weights["items"].T + weights["item_bias"]
    logits_LI = logits_LI.masked_fill(out_of_play_LI, -torch.inf)
    return F.cross_entropy(logits_LI[:, 1:], targets_L - 1)


def descend(broadcast: Broadcast, client: Client, config) -> dict[str, Tensor]:
    """Plain SGD: how far every tensor moved."""
    weights = start = broadcast.weights
    for _ in range(config.federated.local_steps):
        leaves = {name: weight.detach().requires_grad_() for name, weight in weights.items()}
        loss = mean_loss(leaves, client, config.model)
        grads = torch.autograd.grad(loss, list(leaves.values()))
        rate = config.federated.local_rate
        weights = {n: w.detach() - rate * g for (n, w), g in zip(leaves.items(), grads, strict=True)}
    return {name: weights[name] - start[name] for name in start}


@every_encoder
@pytest.mark.parametrize("steps", [1, 2])
def test_shared_movement_is_sgd_of_the_plain_mean_loss(world, model, steps):
    config = world.config(
        model=model, response={"mode": "off"}, federated={"local_steps": steps, "local_rate": 0.3}
    )
    broadcast, batch = world.broadcast(config, torch.float64), world.batch(first_seed=5)
    updates, _ = world.learn(config, world.private(config), batch, broadcast)
    for row, length in enumerate(batch.lengths):
        client = (
            batch.items_BL[row, :length],
            batch.targets_BL[row, :length],
            world.out_of_play(config, batch, row),
        )
        actual = world.dense(updates, row, broadcast)
        for name, moved in descend(broadcast, client, config).items():
            torch.testing.assert_close(actual[name], moved, rtol=1e-6, atol=1e-9, msg=lambda m, n=name: n + m)


@every_encoder
def test_a_client_learns_the_same_in_any_company(world, model):
    dropout = {"dropout": 0.3, "event_dropout": 0.3}
    config = world.config(model=model | dropout, federated={"local_steps": 2, "local_rate": 0.3})
    broadcast, private = world.broadcast(config), world.private(config)
    together, kept = world.learn(config, private, world.batch(), broadcast)
    for row in range(len(world.people)):
        own = type(private)(*(part[row : row + 1] for part in private))
        alone, kept_alone = world.learn(config, own, world.batch([world.people[row]], row), broadcast)
        torch.testing.assert_close(kept.offsets_BS[row], kept_alone.offsets_BS[0], rtol=1e-3, atol=1e-5)
        expected = world.dense(alone, 0, broadcast)
        for name, moved in world.dense(together, row, broadcast).items():
            torch.testing.assert_close(moved, expected[name], rtol=1e-3, atol=1e-5)


@every_encoder
def test_offsets_adapt_and_lower_the_loss(world, model):
    config = world.config(model=model, response={"adapt_steps": 20})
    broadcast, batch, before = world.broadcast(config), world.batch(), world.private(config)
    after = adapt(broadcast, before, batch, config, world.sites(config))
    losses = [world.learn(config, private, batch, broadcast)[0].loss_B.mean() for private in (before, after)]
    assert float(losses[1]) < float(losses[0])
