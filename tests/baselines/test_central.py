"""Central training against federated training with all personalization off, and against torch's Adam."""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from pfsr.baselines import central
from pfsr.baselines.central import Pooled
from pfsr.config import Config
from pfsr.data.population import large_population
from pfsr.data.sequences import Sequences
from pfsr.federated.aggregate import PartialSum, pseudo_gradient
from pfsr.federated.batch import ClientBatch, client_batch
from pfsr.federated.cohort import eligible, sample_cohort
from pfsr.federated.rounds import first_state, make_broadcast, run_round
from pfsr.federated.seeds import derive
from pfsr.federated.view import Broadcast
from pfsr.model.encoder import encode
from pfsr.model.response import response_sites
from pfsr.recipe import resolve
from pfsr.simulation.private_store import PrivateStore
from pfsr.simulation.simulator import Population, Simulator

ITEMS = 15
PEOPLE = large_population(40, ITEMS, 9.0).sequences
ENDS = np.maximum(PEOPLE.lengths - 2, 0)
CLIENTS = eligible(ENDS, 2)

BASE: dict[str, Any] = {
    "model": {"d_model": 16, "heads": 2, "d_state": 4, "blocks": 2, "view": "associative", "horizon": 3},
    "federated": {"window": 8, "cohort": 12, "warmup": 0, "rounds": 9, "final_rate": 1.0},
    "objective": {"negatives": 5, "magnitude": "off"},
    "response": {"mode": "off"},
}
NO_DROPOUT = {"dropout": 0.0, "event_dropout": 0.0}

both_losses = pytest.mark.parametrize("loss", ["full", "sampled"])
both_rules = pytest.mark.parametrize("seen", ["left_out", "kept"])


def population(path: Path, config: Config, sequences: Sequences = PEOPLE) -> Population:
    store = PrivateStore(path, len(PEOPLE), response_sites(config.model).total)
    return Population(sequences, ENDS, store)


def sent(config: Config) -> Broadcast:
    """Weights that have left their first zeros and ones, in round 3."""
    random = torch.Generator().manual_seed(1)
    state = first_state(config, ITEMS)
    weights = {n: w + 0.2 * torch.randn(w.shape, generator=random) for n, w in state.weights.items()}
    weights["items"][0] = 0
    return make_broadcast(state._replace(weights=weights, round=3), config)


def assert_same_step(one: PartialSum, two: PartialSum, rate: float) -> None:
    gradient, other = pseudo_gradient(one, rate), pseudo_gradient(two, rate)
    assert list(gradient) == list(other)
    for name, value in gradient.items():
        torch.testing.assert_close(value, other[name], rtol=1e-4, atol=2e-6, msg=lambda m, n=name: n + m)
    torch.testing.assert_close(one.loss, two.loss, rtol=1e-5, atol=0)
    assert (float(one.weight), one.clients) == (float(two.weight), two.clients)
    assert torch.equal(one.spread_G, two.spread_G) and torch.equal(one.within_T, two.within_T)


@both_losses
@both_rules
@pytest.mark.parametrize("encoder", ["amb", "sasrec"])
@pytest.mark.parametrize("dropout", [NO_DROPOUT, {"dropout": 0.3, "event_dropout": 0.2}])
def test_it_is_federated_training_with_all_personalization_off(tmp_path, loss, seen, encoder, dropout):
    objective = {"loss": loss, "seen": seen}
    config = resolve(BASE, {"objective": objective, "model": dropout | {"encoder": encoder}})
    people = population(tmp_path / "private", config)
    broadcast = sent(config)
    federated, pooled = (
        who(broadcast, CLIENTS) for who in (Simulator(people, config), Pooled(people, config))
    )
    assert_same_step(pooled, federated, config.federated.local_rate)


def drawn(people: np.ndarray, version: int, config: Config) -> ClientBatch:
    seeds = [derive(config.seed, "train", version, int(p)) for p in people]
    histories = [PEOPLE.history(int(p), int(ENDS[p])) for p in people]
    return client_batch(histories, seeds, config.federated.window)


def out_of_play(batch: ClientBatch, config: Config) -> Tensor:
    """What the target of each event does not compete with, bool [B, L, items + 1]."""
    out = torch.zeros(*batch.items_BL.shape, ITEMS + 1, dtype=torch.bool)
    for row, length in enumerate(batch.lengths if config.objective.seen == "left_out" else []):
        for event in range(length):
            had = [*batch.before[row].tolist(), *batch.items_BL[row, : event + 1].tolist()]
            out[row, event, had] = True
            out[row, event, batch.targets_BL[row, event]] = False
    return out


def mean_loss(weights: dict[str, Tensor], people: np.ndarray, sent: Broadcast, config: Config) -> Tensor:
    """Mean next-item loss over all events of ``people``, by torch's own cross-entropy."""
    batch = drawn(people, sent.version, config)
    x_BLd = F.embedding(batch.items_BL, weights["items"]) * math.sqrt(config.model.d_model)
    query_BLd = encode(weights, x_BLd, batch.items_BL > 0, config.model)
    logits = query_BLd @ weights["items"].T + weights["item_bias"]
    real_BL = batch.items_BL > 0
    logits_TI = logits.masked_fill(out_of_play(batch, config), -torch.inf)[real_BL]
    target_T = batch.targets_BL[real_BL]
    if sent.negatives is None:
        return F.cross_entropy(logits_TI[:, 1:], target_T - 1)
    others = logits_TI[:, sent.negatives] + math.log(ITEMS / len(sent.negatives))
    others = others.masked_fill(sent.negatives == target_T[:, None], -torch.inf)
    own_T1 = logits_TI.gather(1, target_T[:, None])
    return F.cross_entropy(torch.cat([own_T1, others], 1), torch.zeros_like(target_T))


def assert_gradient_of_the_mean_loss(total: PartialSum, broadcast: Broadcast, config: Config) -> None:
    leaves = {name: w.clone().requires_grad_() for name, w in broadcast.weights.items()}
    loss = mean_loss(leaves, CLIENTS, broadcast, config)
    expected = dict(zip(leaves, torch.autograd.grad(loss, list(leaves.values())), strict=True))
    for name, value in pseudo_gradient(total, config.federated.local_rate).items():
        torch.testing.assert_close(value, expected[name], rtol=1e-4, atol=1e-6, msg=lambda m, n=name: n + m)
    assert float(total.loss / total.weight) == pytest.approx(float(loss.detach()), rel=1e-5)
    events = np.minimum(ENDS[CLIENTS] - 1, config.federated.window).sum()
    assert float(total.weight) == events


@both_losses
@both_rules
def test_its_step_is_the_gradient_of_the_mean_loss(tmp_path, loss, seen):
    config = resolve(BASE, {"model": NO_DROPOUT, "objective": {"loss": loss, "seen": seen}})
    broadcast = sent(config)
    total = Pooled(population(tmp_path / "private", config), config)(broadcast, CLIENTS)
    assert_gradient_of_the_mean_loss(total, broadcast, config)


@both_losses
@both_rules
@pytest.mark.parametrize("events", [1, 5])
def test_pieces_that_cut_through_people_give_the_gradient_of_the_mean_loss(
    tmp_path, monkeypatch, loss, seen, events
):
    """Everybody in one group, so that a piece of five holds the end of one person and the start of others."""
    monkeypatch.setattr(central, "GROUP", len(CLIENTS))
    monkeypatch.setattr(central, "EVENTS", events)
    monkeypatch.setattr(central, "LOGITS", 1)
    config = resolve(BASE, {"model": NO_DROPOUT, "objective": {"loss": loss, "seen": seen}})
    broadcast = sent(config)
    batch = drawn(CLIENTS, broadcast.version, config)
    assert any(length % 5 for length in batch.lengths)
    assert any(len(before) for before in batch.before)
    total = Pooled(population(tmp_path / "private", config), config)(broadcast, CLIENTS)
    assert_gradient_of_the_mean_loss(total, broadcast, config)


@both_rules
def test_rounds_with_fedadam_are_minibatch_adam(tmp_path, seen):
    federated = {"server_rate": 3e-3}
    config = resolve(BASE, {"model": NO_DROPOUT, "federated": federated, "objective": {"seen": seen}})
    state, train = first_state(config, ITEMS), Pooled(population(tmp_path / "private", config), config)
    weights = {name: w.clone().requires_grad_() for name, w in state.weights.items()}
    adam = torch.optim.Adam(weights.values(), lr=3e-3, betas=(0.9, 0.98))
    for number in range(6):
        people = sample_cohort(CLIENTS, config.federated, config.seed, number)
        adam.zero_grad()
        loss = mean_loss(weights, people, make_broadcast(state._replace(round=number), config), config)
        loss.backward()
        adam.step()
        state, report = run_round(state, CLIENTS, train, config)
        assert report.loss == pytest.approx(float(loss.detach()), rel=1e-4)
        assert report.clients == 12


@both_losses
@both_rules
def test_how_the_work_is_cut_changes_rounding_only(tmp_path, loss, seen, monkeypatch):
    config = resolve(BASE, {"objective": {"loss": loss, "seen": seen}})
    train, broadcast = Pooled(population(tmp_path / "private", config), config), sent(config)
    whole = train(broadcast, CLIENTS)
    monkeypatch.setattr(central, "GROUP", 7)
    monkeypatch.setattr(central, "EVENTS", 5)
    monkeypatch.setattr(central, "LOGITS", 1)
    assert_same_step(train(broadcast, CLIENTS), whole, config.federated.local_rate)


def test_the_number_of_threads_changes_not_one_bit(tmp_path, monkeypatch):
    monkeypatch.setattr(central, "GROUP", 5)
    config = resolve(BASE)
    people, broadcast = population(tmp_path / "private", config), sent(config)
    one, two = (Pooled(people, config, threads)(broadcast, CLIENTS) for threads in (1, 3))
    assert all(torch.equal(delta, two.deltas[name]) for name, delta in one.deltas.items())
    assert torch.equal(one.loss, two.loss)


def test_nothing_at_or_after_the_end_of_training_is_read(tmp_path):
    config = resolve(BASE)
    items = PEOPLE.items.copy()
    for person, end in enumerate(ENDS):
        items[PEOPLE.offsets[person] + end : PEOPLE.offsets[person + 1]] = 10**6
    poisoned = population(tmp_path / "poison", config, replace(PEOPLE, items=items))
    honest = population(tmp_path / "honest", config)
    one, two = (Pooled(who, config)(sent(config), CLIENTS) for who in (honest, poisoned))
    assert all(torch.equal(delta, two.deltas[name]) for name, delta in one.deltas.items())


def test_nothing_private_is_made(tmp_path):
    config = resolve(BASE, {"response": {"mode": "soft"}})
    people, broadcast = population(tmp_path / "private", config), sent(config)
    pooled = Pooled(people, config)
    pooled(broadcast, CLIENTS)
    pooled.adapt(broadcast, CLIENTS)
    assert len(people.private.changed()[0]) == 0
