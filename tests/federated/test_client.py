"""One participation: batched or alone, what moves in which phase, what the switches do."""

import pytest
import torch

from pfsr.federated.aggregate import partial_sum
from pfsr.federated.client import adapt
from pfsr.federated.partition import new_private
from pfsr.federated.update import Updates, wire
from pfsr.model.response import response_strength

SWITCHES = {
    "plain": {},
    "dropout": {"model": {"dropout": 0.3, "event_dropout": 0.2}},
    "dropout, three steps": {
        "model": {"dropout": 0.3, "event_dropout": 0.2},
        "federated": {"local_steps": 3},
    },
    "sampled": {"objective": {"loss": "sampled"}},
    "everything competes": {"objective": {"seen": "kept"}},
    "sampled, everything competes": {"objective": {"loss": "sampled", "seen": "kept"}},
    "sampled, dropout, three steps": {
        "objective": {"loss": "sampled"},
        "model": {"dropout": 0.3, "event_dropout": 0.2},
        "federated": {"local_steps": 3},
    },
    "flipped": {"model": {"view": "associative", "dropout": 0.3, "event_dropout": 0.2}},
    "flipped, sampled, three steps": {
        "model": {"view": "associative"},
        "objective": {"loss": "sampled"},
        "federated": {"local_steps": 3},
    },
    "hard, two steps": {"response": {"mode": "hard"}, "federated": {"local_steps": 2}},
    "off": {"response": {"mode": "off"}, "objective": {"magnitude": "off"}},
}


def rows(private, client: int):
    return type(private)(*(part[client : client + 1] for part in private))


@pytest.mark.parametrize("switches", SWITCHES.values(), ids=SWITCHES.keys())
def test_a_batch_learns_what_each_client_learns_alone(world, switches):
    config = world.config(**switches)
    broadcast, private = world.broadcast(config, limit=0.02), world.private(config)
    everybody = world.batch(first_seed=5)
    # Some of what the last one has seen lies before the stretch.
    assert len(everybody.before[5])
    together, after = world.learn(config, private, everybody, broadcast)
    for client, history in enumerate(world.people):
        batch = world.batch([history], first_seed=5 + client)
        alone, after_alone = world.learn(config, rows(private, client), batch, broadcast)
        assert_same_client(world, broadcast, (together, client), (alone, 0))
        for one, two in zip(rows(after, client), after_alone, strict=True):
            torch.testing.assert_close(one, two, rtol=1e-3, atol=1e-5)


def assert_same_client(world, broadcast, left: tuple[Updates, int], right: tuple[Updates, int]) -> None:
    one, two = world.dense(*left, broadcast), world.dense(*right, broadcast)
    for name in broadcast.weights:
        torch.testing.assert_close(one[name], two[name], rtol=1e-3, atol=5e-6)
    for name in ("weight_B", "loss_B", "spread_BG", "within_BT"):
        a, b = (getattr(updates, name)[client] for updates, client in (left, right))
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-6)


def test_dropout_follows_from_the_seed_of_the_client(world):
    config = world.config(model={"dropout": 0.5})
    private, broadcast = world.private(config), world.broadcast(config)
    one, same, other = (
        world.learn(config, private, world.batch(first_seed=seed), broadcast)[0] for seed in (5, 5, 6)
    )
    assert torch.equal(one.table_BMd, same.table_BMd)
    assert not torch.allclose(one.table_BMd, other.table_BMd)


def test_learning_leaves_what_the_server_sent_and_the_old_private_parameters_alone(world):
    config = world.config(federated={"local_steps": 3})
    broadcast, private = world.broadcast(config), world.private(config)
    sent = {name: w.clone() for name, w in broadcast.weights.items()}
    kept = [part.clone() for part in private]
    world.learn(config, private, world.batch(), broadcast)
    assert all(torch.equal(w, sent[name]) for name, w in broadcast.weights.items())
    assert all(torch.equal(one, two) for one, two in zip(private, kept, strict=True))


def test_the_shared_phase_leaves_offsets_alone(world):
    gentle, wild = (world.config(federated={"local_rate": rate}) for rate in (1e-6, 1.0))
    batch, private, broadcast = world.batch(), world.private(gentle), world.broadcast(gentle)
    quiet, after_quiet = world.learn(gentle, private, batch, broadcast)
    loud, after_loud = world.learn(wild, private, batch, broadcast)
    assert float(loud.table_BMd.norm()) > 1e3 * float(quiet.table_BMd.norm())
    assert all(torch.equal(one, two) for one, two in zip(after_quiet, after_loud, strict=True))
    assert not torch.equal(after_quiet.offsets_BS, private.offsets_BS)


def test_the_private_phase_leaves_the_shared_movement_alone(world):
    gentle, wild = (world.config(response={"rate": rate}) for rate in (1e-6, 1.0))
    batch, private, broadcast = world.batch(), world.private(gentle), world.broadcast(gentle)
    quiet, after_quiet = world.learn(gentle, private, batch, broadcast)
    loud, after_loud = world.learn(wild, private, batch, broadcast)
    assert not torch.allclose(after_quiet.offsets_BS, after_loud.offsets_BS)
    for client in range(6):
        one, two = (world.dense(updates, client, broadcast) for updates in (quiet, loud))
        assert all(torch.equal(one[name], two[name]) for name in broadcast.weights)


@pytest.mark.parametrize("version", [0, 1, 3, 4])
def test_known_fisher_information_is_looked_at_again_only_every_so_many_rounds(world, version):
    config = world.config(response={"fisher_every": 4})
    before, batch = world.private(config), world.batch()
    before.fisher_BS[[1, 4]] = 0
    _, after = world.learn(config, before, batch, world.broadcast(config)._replace(version=version))
    looked_at = (after.fisher_BS != before.fisher_BS).any(1).tolist()
    assert looked_at == [version % 4 == 0 or person in (1, 4) for person in range(6)]
    assert bool((after.fisher_BS > 0).any(1).all())


def test_participations_are_counted(world):
    config = world.config()
    private = new_private(6, world.sites(config))
    for times in (1, 2):
        _, private = world.learn(config, private, world.batch())
        assert private.rounds_B.tolist() == [times] * 6


def test_a_new_person_has_the_global_model_and_then_offsets_of_its_own(world):
    config = world.config()
    new = new_private(6, world.sites(config))
    assert all(float(part.abs().max()) == 0 for part in new)
    _, after = world.learn(config, new, world.batch())
    assert bool((after.offsets_BS != 0).any(1).all())
    assert bool((after.fisher_BS >= 0).all() and (after.fisher_BS > 0).any(1).all())


def test_response_off_never_makes_offsets(world):
    config = world.config(response={"mode": "off"})
    private, batch = new_private(6, world.sites(config)), world.batch()
    _, private = world.learn(config, private, batch)
    updates, private = world.learn(config, private, batch)
    assert float(private.offsets_BS.abs().max()) == 0
    assert float(private.fisher_BS.abs().max()) == 0
    assert float(updates.spread_BG.abs().max()) == 0


def test_response_off_leaves_nothing_to_adapt(world):
    config = world.config(response={"mode": "off"})
    private = new_private(6, world.sites(config))
    adapted = adapt(world.broadcast(config), private, world.batch(), config, world.sites(config))
    assert all(torch.equal(one, two) for one, two in zip(adapted, private, strict=True))


def test_hard_response_keeps_strong_offsets_and_zeroes_weak_ones(world):
    config = world.config(response={"mode": "hard", "threshold": 0.5})
    private, batch, broadcast = world.private(config), world.batch(), world.broadcast(config)
    broadcast = broadcast._replace(spread_G=torch.full_like(broadcast.spread_G, 0.3))
    _, after = world.learn(config, private, batch, broadcast)
    spread_S = world.sites(config).spread(broadcast.spread_G)
    weak = response_strength(batch.events_B, after.fisher_BS, spread_S) <= 0.5
    assert 0 < int(weak.sum()) < weak.numel()
    assert float(after.offsets_BS[weak].abs().max()) == 0
    assert float(after.offsets_BS[~weak].abs().min()) > 0


def test_hard_and_soft_agree_where_hard_keeps_anything(world):
    hard, soft = (world.config(response={"mode": mode}) for mode in ("hard", "soft"))
    private, batch = world.private(hard), world.batch()
    kept, moved = (
        world.learn(hard, private, batch)[1].offsets_BS,
        world.learn(soft, private, batch)[1].offsets_BS,
    )
    assert torch.equal(kept[kept != 0], moved[kept != 0])


def test_movements_stay_under_their_limits_and_say_whether_they_were_cut(world):
    config = world.config(federated={"local_rate": 1.0})
    batch, private = world.batch(), world.private(config)
    free, _ = world.learn(config, private, batch, world.broadcast(config))
    broadcast = world.broadcast(config, limit=0.05)
    held, _ = world.learn(config, private, batch, broadcast)
    for client in range(6):
        before, after = (world.dense(u, client, broadcast) for u in (free, held))
        for place, (name, weight) in enumerate(broadcast.weights.items()):
            reach = 0.05 * max(float(weight.norm()), 0.02 * weight.numel() ** 0.5)
            assert float(after[name].norm()) <= reach * (1 + 1e-5)
            assert bool(held.within_BT[client, place]) == (float(before[name].norm()) <= reach)
    assert 0 < float(held.within_BT.mean()) < 1
    assert float(free.within_BT.min()) == 1


@pytest.mark.parametrize("magnitude", ["prox", "off"])
def test_only_the_dynamic_loss_limits_movements(world, magnitude):
    config = world.config(objective={"magnitude": magnitude})
    tight, loose = (world.broadcast(config, limit=limit) for limit in (1e-9, 1e9))
    one, two = (world.learn(config, world.private(config), world.batch(), sent)[0] for sent in (tight, loose))
    assert torch.equal(one.table_BMd, two.table_BMd)


def test_a_stronger_pull_keeps_offsets_nearer_to_the_global_model(world):
    sizes = []
    for prox in (1.0, 100.0, 1e5):
        config = world.config(
            objective={"magnitude": "prox", "prox": prox}, federated={"local_steps": 5, "local_rate": 1e-6}
        )
        _, after = world.learn(config, new_private(6, world.sites(config)), world.batch())
        sizes.append(float(after.offsets_BS.norm()))
    assert sizes[0] > sizes[1] > sizes[2]


def test_private_steps_lower_the_loss_of_their_own_person(world):
    config = world.config(response={"adapt_steps": 20}, objective={"magnitude": "off"})
    private, batch, broadcast = new_private(6, world.sites(config)), world.batch(), world.broadcast(config)
    adapted = adapt(broadcast, private, batch, config, world.sites(config))
    once = world.config(response={"rate": 1e-9})
    before = world.learn(once, private, batch, broadcast)[0].loss_B
    after = world.learn(once, adapted, batch, broadcast)[0].loss_B
    assert bool((after < before).all())


def test_adapting_is_the_private_phase_alone(world):
    config = world.config(response={"adapt_steps": 4}, federated={"local_steps": 4, "local_rate": 1e-9})
    private, batch, broadcast = world.private(config), world.batch(), world.broadcast(config)
    adapted = adapt(broadcast, private, batch, config, world.sites(config))
    _, trained = world.learn(config, private, batch, broadcast)
    torch.testing.assert_close(adapted.offsets_BS, trained.offsets_BS, rtol=1e-4, atol=1e-5)
    assert torch.equal(adapted.rounds_B, private.rounds_B)
    assert not torch.allclose(adapted.offsets_BS, private.offsets_BS, rtol=1e-2, atol=1e-3)


def test_adapting_silences_no_channel(world):
    with_dropout, without = (world.config(model={"dropout": share}) for share in (0.5, 0.0))
    private, batch, broadcast = world.private(without), world.batch(), world.broadcast(without)
    one, two = (
        adapt(broadcast, private, batch, config, world.sites(config)) for config in (with_dropout, without)
    )
    assert torch.equal(one.offsets_BS, two.offsets_BS)


@pytest.mark.parametrize("switches", [{}, {"response": {"mode": "off"}}, {"objective": {"seen": "kept"}}])
def test_thin_or_written_out_the_same_leaves_and_the_same_stays(world, monkeypatch, switches):
    config = world.config(**switches)
    broadcast, private = world.broadcast(config, limit=0.02), world.private(config)
    found = []
    for thin in (True, False):
        monkeypatch.setattr("pfsr.federated.client._stays_thin", lambda batch, config, thin=thin: thin)
        updates, after = world.learn(config, private, world.batch(first_seed=5), broadcast)
        assert isinstance(updates.table_BMd, torch.Tensor) is not thin
        found.append((updates, after, partial_sum(updates, broadcast.weights)))
    (one, kept, total), (two, other, written) = found
    assert 0 < float(one.within_BT.mean()) < 1
    for client in range(len(world.people)):
        assert_same_client(world, broadcast, (one, client), (two, client))
        message = wire(one, client, broadcast.weights).view(torch.float32)
        assert_near(message, wire(two, client, broadcast.weights).view(torch.float32))
    assert_near(kept.offsets_BS, other.offsets_BS)
    for name in broadcast.weights:
        assert_near(total.deltas[name], written.deltas[name])


def assert_near(one: torch.Tensor, two: torch.Tensor) -> None:
    torch.testing.assert_close(one, two, rtol=1e-4, atol=1e-6)
