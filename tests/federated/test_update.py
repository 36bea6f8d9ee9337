"""What leaves a device: every field and byte, spelled out here so that any new one breaks a test."""

import numpy as np
import pytest
import torch

from pfsr.federated.partition import Private
from pfsr.federated.update import Updates, wire, wire_bytes, wire_fields
from pfsr.federated.view import Broadcast

SMALL = {"model": {"blocks": 1}}
MESSAGE = [
    ("delta.blocks.0.conv", (3, 16)),
    ("delta.blocks.0.conv_bias", (16,)),
    ("delta.blocks.0.decay", (2,)),
    ("delta.blocks.0.flip", (2,)),
    ("delta.blocks.0.flip_norm", (16,)),
    ("delta.blocks.0.gate_bias", (2,)),
    ("delta.blocks.0.norm", (16,)),
    ("delta.blocks.0.out", (16, 16)),
    ("delta.blocks.0.out_scale", (16,)),
    ("delta.blocks.0.project", (16, 48)),
    ("delta.blocks.0.skip", (16,)),
    ("delta.blocks.0.step_bias", (2,)),
    ("delta.item_bias", (13,)),
    ("delta.items", (13, 16)),
    ("delta.scale", (16,)),
    ("weight", ()),
    ("loss", ()),
    ("spread", (6,)),
    ("within", (15,)),
]


def messages(world, config, histories, seed: int = 0):
    broadcast = world.broadcast(config)
    updates, after = world.learn(
        config, world.private(config, len(histories), seed), world.batch(histories), broadcast
    )
    return [wire(updates, client, broadcast.weights) for client in range(len(histories))], after


def test_the_fields_of_a_message_are_these_and_no_others(world):
    config = world.config(**SMALL)
    fields = wire_fields(world.broadcast(config).weights, len(world.sites(config).names))
    assert [tuple(field) for field in fields] == MESSAGE
    assert wire_bytes(world.broadcast(config).weights, 6) == 4 * sum(int(np.prod(s)) for _, s in MESSAGE)


def test_types_that_travel_have_these_fields_and_no_others():
    assert Updates._fields == (
        "deltas", "table_BMd", "bias_BM", "rows_BM", "weight_B", "loss_B", "spread_BG", "within_BT",
    )  # fmt: skip
    assert Broadcast._fields == ("weights", "spread_G", "limits_T", "version", "negatives")
    assert Private._fields == ("offsets_BS", "fisher_BS", "rounds_B")


@pytest.mark.parametrize("loss", ["full", "sampled"])
def test_a_message_is_its_fields_in_order(world, loss):
    config = world.config(**SMALL, objective={"loss": loss})
    broadcast, batch = world.broadcast(config), world.batch()
    updates, _ = world.learn(config, world.private(config), batch, broadcast)
    for client in range(6):
        sizes = [int(np.prod(shape)) for _, shape in MESSAGE]
        parts = dict(
            zip([n for n, _ in MESSAGE], wire(updates, client, broadcast.weights).split(sizes), strict=True)
        )
        for name, moved in world.dense(updates, client, broadcast).items():
            assert torch.equal(parts[f"delta.{name}"].view(moved.shape), moved)
        assert parts["weight"].tolist() == [batch.lengths[client]]
        assert torch.equal(parts["loss"], updates.loss_B[client : client + 1])
        assert torch.equal(parts["spread"], updates.spread_BG[client])
        assert torch.equal(parts["within"], updates.within_BT[client])


def test_every_message_of_a_model_has_the_same_length(world):
    random = np.random.default_rng(0)
    short, long = (random.integers(1, 13, length, dtype=np.int32) for length in (2, 500))
    lengths, expected = set(), set()
    for loss in ("full", "sampled"):
        for mode in ("soft", "off"):
            config = world.config(objective={"loss": loss}, response={"mode": mode})
            sent, _ = messages(world, config, [short, long])
            lengths |= {4 * message.numel() for message in sent}
            expected.add(wire_bytes(world.broadcast(config).weights, len(world.sites(config).names)))
            assert all(message.dtype == torch.float32 for message in sent)
    assert lengths == expected
    assert len(lengths) == 1


def test_no_private_number_is_in_a_message(world):
    config = world.config()
    sent, after = messages(world, config, world.people)
    for message, offsets, fisher in zip(sent, after.offsets_BS, after.fisher_BS, strict=True):
        private = torch.cat([offsets, fisher])
        assert not bool(torch.isin(private[private != 0], message).any())


def test_without_a_response_nothing_private_reaches_a_message(world):
    config = world.config(response={"mode": "off"})
    one, _ = messages(world, config, world.people, seed=0)
    two, _ = messages(world, config, world.people, seed=1)
    assert all(torch.equal(a, b) for a, b in zip(one, two, strict=True))


def test_what_a_message_says_about_offsets_is_one_clipped_number_per_group(world):
    config = world.config()
    broadcast, private = world.broadcast(config), world.private(config)
    updates, _ = world.learn(config, private, world.batch(), broadcast)
    assert updates.spread_BG.shape == (6, len(world.sites(config).names))
    assert bool((updates.spread_BG >= 0.99e-4).all() and (updates.spread_BG <= 1).all())


def test_under_the_full_loss_every_item_moves_whoever_did_what(world):
    config = world.config()
    broadcast = world.broadcast(config)
    updates, _ = world.learn(config, world.private(config), world.batch(), broadcast)
    for client in range(6):
        moved = world.dense(updates, client, broadcast)
        assert bool((moved["items"][1:] != 0).any(1).all())
        assert bool((moved["item_bias"][1:] != 0).all())


def test_nothing_sent_to_clients_is_personal(world):
    config = world.config(objective={"loss": "sampled"})
    broadcast = world.broadcast(config)
    assert "user" not in broadcast.weights
    assert all(value.ndim <= 2 for value in broadcast.weights.values())
    assert broadcast.negatives is not None
    assert len(set(broadcast.negatives.tolist())) == 5
    assert bool(((broadcast.negatives >= 1) & (broadcast.negatives <= 12)).all())
