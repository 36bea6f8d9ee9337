"""FedProx: local steps are pulled back to the broadcast model, the first one is not."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from pfsr.config import Config
from pfsr.federated.partition import new_private
from pfsr.federated.view import Broadcast
from pfsr.model.encoder import encode


def settings(world, proximal: float, steps: int = 3, rate: float = 0.3, **sections) -> Config:
    federated = {"local_steps": steps, "local_rate": rate, "proximal": proximal}
    return world.config(response={"mode": "off"}, federated=federated, **sections)


Client = tuple[Tensor, Tensor, Tensor]
"""Items read, targets, and what each target does not compete with."""


def next_item_loss(weights: dict[str, Tensor], client: Client, sent: Broadcast, config: Config) -> Tensor:
    items_L, targets_L, out_of_play_LI = client
    x_1Ld = F.embedding(items_L, weights["items"])[None] * math.sqrt(config.model.d_model)
    query_Ld = encode(weights, x_1Ld, torch.ones(1, len(items_L), dtype=torch.bool), config.model)[0]
    logits_LI = query_Ld @ weights["items"].T + weights["item_bias"]
    logits_LI = logits_LI.masked_fill(out_of_play_LI, -torch.inf)
    if sent.negatives is None:
        return F.cross_entropy(logits_LI[:, 1:], targets_L - 1)
    others = logits_LI[:, sent.negatives] + math.log((len(weights["items"]) - 1) / len(sent.negatives))
    others = others.masked_fill(sent.negatives == targets_L[:, None], -torch.inf)
    logits = torch.cat([logits_LI.gather(1, targets_L[:, None]), others], 1)
    return F.cross_entropy(logits, torch.zeros_like(targets_L))


def descend(sent: Broadcast, client: Client, config: Config) -> dict[str, Tensor]:
    """Gradient descent on loss + (proximal / 2) |w - w_broadcast|^2, every gradient from autograd."""
    weights = sent.weights
    for _ in range(config.federated.local_steps):
        weights = {name: w.detach().requires_grad_() for name, w in weights.items()}
        distance = sum(((w - sent.weights[name]) ** 2).sum() for name, w in weights.items())
        loss = next_item_loss(weights, client, sent, config)
        grads = torch.autograd.grad(loss + config.federated.proximal / 2 * distance, list(weights.values()))
        moved = zip(weights.items(), grads, strict=True)
        weights = {name: w - config.federated.local_rate * g for (name, w), g in moved}
    return {name: w.detach() - sent.weights[name] for name, w in weights.items()}


@pytest.mark.parametrize("loss", ["full", "sampled"])
@pytest.mark.parametrize("proximal", [0.0, 0.7])
@pytest.mark.parametrize("seen", ["left_out", "kept"])
def test_local_steps_descend_the_proximal_objective(world, loss, proximal, seen):
    config = settings(world, proximal, objective={"loss": loss, "magnitude": "off", "seen": seen})
    sent, batch = world.broadcast(config, torch.float64), world.batch([world.people[2]])
    updates, _ = world.learn(config, new_private(1, world.sites(config)), batch, sent)
    client = batch.items_BL[0], batch.targets_BL[0], world.out_of_play(config, batch, 0)
    expected = descend(sent, client, config)
    for name, moved in world.dense(updates, 0, sent).items():
        torch.testing.assert_close(moved, expected[name], rtol=1e-6, atol=1e-9, msg=lambda m, n=name: n + m)


@pytest.mark.parametrize("loss", ["full", "sampled"])
def test_the_first_step_is_not_pulled(world, loss):
    free, pulled = (settings(world, proximal, 1, objective={"loss": loss}) for proximal in (0.0, 100.0))
    private = new_private(6, world.sites(free))
    one, two = (world.learn(config, private, world.batch())[0] for config in (free, pulled))
    assert torch.equal(one.table_BMd, two.table_BMd)
    assert all(torch.equal(delta, two.deltas[name]) for name, delta in one.deltas.items())


def test_a_stronger_pull_keeps_everybody_nearer_to_the_broadcast_model(world):
    sizes = []
    for proximal in (0.0, 2.0, 20.0):
        config = settings(world, proximal, 20, 0.03, objective={"magnitude": "off"})
        updates, _ = world.learn(config, new_private(6, world.sites(config)), world.batch())
        sizes.append(updates.table_BMd.flatten(1).norm(dim=1))
    assert bool((sizes[0] > sizes[1]).all() and (sizes[1] > sizes[2]).all())
    assert bool((sizes[2] < sizes[0] / 2).all())


def test_the_pull_is_on_what_is_shared_and_leaves_the_loss_alone(world):
    free, pulled = (world.config(federated={"local_steps": 3, "proximal": mu}) for mu in (0.0, 5.0))
    batch, private = world.batch(), world.private(free)
    one, after_one = world.learn(free, private, batch)
    two, after_two = world.learn(pulled, private, batch)
    assert torch.equal(one.loss_B, two.loss_B)
    assert not torch.equal(one.table_BMd, two.table_BMd)
    assert torch.equal(after_one.rounds_B, after_two.rounds_B)
