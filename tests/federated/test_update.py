"""What leaves a device: every field and byte, spelled out here so that any new one breaks a test."""

import numpy as np
import pytest
import torch

from pfsr.federated.partition import Private
from pfsr.federated.update import Updates, compress, unwire, wire, wire_bytes, wire_fields
from pfsr.federated.view import Broadcast
from pfsr.model.encoder import init_weights

SMALL = {"model": {"blocks": 1}}
MESSAGE = [
    ("delta.blocks.0.conv", (3, 16)),
    ("delta.blocks.0.conv_bias", (16,)),
    ("delta.blocks.0.decay", (2,)),
    ("delta.blocks.0.norm", (16,)),
    ("delta.blocks.0.out", (16, 16)),
    ("delta.blocks.0.out_scale", (16,)),
    ("delta.blocks.0.project", (16, 42)),
    ("delta.blocks.0.project_bias", (24,)),
    ("delta.blocks.0.skip", (16,)),
    ("delta.blocks.0.step_bias", (2,)),
    ("delta.item_bias", (13,)),
    ("delta.items", (13, 16)),
    ("delta.scale", (16,)),
    ("weight", ()),
    ("loss", ()),
    ("spread", (5,)),
    ("within", (13,)),
]
FEW_BITS = [1, 2, 4, 8]


def messages(world, config, histories, seed: int = 0):
    broadcast = world.broadcast(config)
    updates, after = world.learn(
        config, world.private(config, len(histories), seed), world.batch(histories), broadcast
    )
    return [wire(updates, client, broadcast.weights) for client in range(len(histories))], after


def test_the_fields_of_a_message_are_these_and_no_others(world):
    config = world.config(**SMALL)
    fields = wire_fields(world.broadcast(config).weights, len(world.sites(config).names))
    assert [tuple(field) for field in fields] == [(*field, 32) for field in MESSAGE]
    assert wire_bytes(world.broadcast(config).weights, 5) == 4 * sum(int(np.prod(s)) for _, s in MESSAGE)


def test_the_flipped_state_adds_three_tensors_and_a_site(world):
    config = world.config(**SMALL | {"model": {"blocks": 1, "view": "associative"}})
    fields = wire_fields(world.broadcast(config).weights, len(world.sites(config).names))
    shapes = {field.name.removeprefix("delta.blocks.0."): field.shape for field in fields}
    plain = {name.removeprefix("delta.blocks.0."): shape for name, shape in MESSAGE}
    changed = {name: shape for name, shape in shapes.items() if plain.get(name) != shape}
    assert changed == {
        "flip": (2,), "flip_norm": (16,), "gate_bias": (2,),
        "project": (16, 48), "project_bias": (28,), "spread": (6,), "within": (16,),
    }  # fmt: skip
    assert plain.keys() <= shapes.keys()


@pytest.mark.parametrize("bits", FEW_BITS)
def test_the_fields_of_a_compressed_message_are_these_and_no_others(world, bits):
    weights = world.broadcast(world.config(**SMALL)).weights
    assert [tuple(field) for field in wire_fields(weights, 5, bits)] == [
        ("rotation", (), 64),
        ("steps", (1,), 32),
        ("codes", (4096,), bits),
        ("weight", (), 32),
        ("loss", (), 32),
        ("spread", (5,), 32),
        ("within", (13,), 32),
    ]
    assert wire_bytes(weights, 5, bits) == 8 + 4 + 512 * bits + 4 * (1 + 1 + 5 + 13)


def test_one_bit_makes_a_megabyte_32_kilobytes(world):
    config = world.config(model={"d_model": 64})
    weights = init_weights(config.model, 3416, 0)
    numbers = sum(weight.numel() for weight in weights.values())
    blocks = -(-numbers // 4096)
    rest = 4 * (2 + 10 + len(weights))
    assert wire_bytes(weights, 10) == 4 * numbers + rest
    assert wire_bytes(weights, 10, 1) == 512 * blocks + 4 * blocks + 8 + rest
    assert wire_bytes(weights, 10) / wire_bytes(weights, 10, 1) > 30


def test_types_that_travel_have_these_fields_and_no_others():
    assert Updates._fields == (
        "deltas", "table_BMd", "bias_BM", "rows_BM", "weight_B", "loss_B", "spread_BG", "within_BT",
        "compressed",
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
        message = wire(updates, client, broadcast.weights).view(torch.float32)
        parts = dict(zip([n for n, _ in MESSAGE], message.split(sizes), strict=True))
        for name, moved in world.dense(updates, client, broadcast).items():
            assert torch.equal(parts[f"delta.{name}"].view(moved.shape), moved)
        assert parts["weight"].tolist() == [batch.lengths[client]]
        assert torch.equal(parts["loss"], updates.loss_B[client : client + 1])
        assert torch.equal(parts["spread"], updates.spread_BG[client])
        assert torch.equal(parts["within"], updates.within_BT[client])


@pytest.mark.parametrize("bits", [*FEW_BITS, 32])
def test_every_message_of_a_model_has_the_same_length(world, bits):
    random = np.random.default_rng(0)
    short, long = (random.integers(1, 13, length, dtype=np.int32) for length in (2, 500))
    lengths, expected = set(), set()
    for loss in ("full", "sampled"):
        for mode in ("soft", "off"):
            sections = {"objective": {"loss": loss}, "response": {"mode": mode}}
            config = world.config(**sections, federated={"upload_bits": bits})
            sent, _ = messages(world, config, [short, long])
            lengths |= {message.numel() for message in sent}
            expected.add(wire_bytes(world.broadcast(config).weights, len(world.sites(config).names), bits))
            assert all(message.dtype == torch.uint8 for message in sent)
    assert lengths == expected
    assert len(lengths) == 1


@pytest.mark.parametrize("loss", ["full", "sampled"])
@pytest.mark.parametrize("bits", [*FEW_BITS, 32])
def test_the_server_reads_from_a_message_exactly_what_the_simulator_sums(world, bits, loss):
    config = world.config(objective={"loss": loss}, federated={"upload_bits": bits})
    broadcast = world.broadcast(config, limit=0.02)
    updates, _ = world.learn(config, world.private(config), world.batch(), broadcast)
    assert (updates.rows_BM is None) == (bits < 32 or loss == "full")
    for client in range(6):
        message = wire(updates, client, broadcast.weights)
        read = unwire(message, broadcast.weights, updates.spread_BG.shape[1], bits)
        moved, summed = world.dense(read, 0, broadcast), world.dense(updates, client, broadcast)
        assert all(torch.equal(moved[name], summed[name]) for name in broadcast.weights)
        for name in ("weight_B", "loss_B", "spread_BG", "within_BT"):
            assert torch.equal(getattr(read, name)[0], getattr(updates, name)[client])
        assert bits == 32 or torch.equal(wire(read, 0, broadcast.weights), message)


def learned(world, loss: str = "full") -> tuple[Updates, Broadcast]:
    config = world.config(objective={"loss": loss})
    broadcast = world.broadcast(config)
    return world.learn(config, world.private(config), world.batch(), broadcast)[0], broadcast


def test_32_bits_change_nothing(world):
    updates, broadcast = learned(world)
    assert compress(updates, broadcast.weights, range(6), 32) is updates


@pytest.mark.parametrize("loss", ["full", "sampled"])
@pytest.mark.parametrize("bits", FEW_BITS)
def test_what_the_server_decodes_is_what_was_learned_up_to_noise_that_averages_out(world, bits, loss):
    updates, broadcast = learned(world, loss)
    original = world.dense(updates, 3, broadcast)
    draws = [
        world.dense(compress(updates, broadcast.weights, range(seed, seed + 6), bits), 3, broadcast)
        for seed in range(0, 600, 6)
    ]
    wrong = sum(
        float((sum(draw[n] for draw in draws) / len(draws) - w).square().sum()) for n, w in original.items()
    )
    noise = {1: np.pi / 2 - 1, 2: 0.135, 4: 0.0117, 8: 8.5e-5}[bits]
    assert wrong / sum(float(w.square().sum()) for w in original.values()) < 1.3 * noise / len(draws)


@pytest.mark.parametrize("loss", ["full", "sampled"])
def test_a_client_is_compressed_alike_alone_and_in_a_batch(world, loss):
    updates, broadcast = learned(world, loss)
    together = compress(updates, broadcast.weights, range(10, 16), 2)
    for client in range(6):
        deltas = {name: delta[client, None] for name, delta in updates.deltas.items()}
        rest = (None if part is None else part[client, None] for part in updates[1:8])
        alone = compress(Updates(deltas, *rest), broadcast.weights, [10 + client], 2)
        message = wire(together, client, broadcast.weights)
        assert torch.equal(message, wire(alone, 0, broadcast.weights))
        one, two = world.dense(together, client, broadcast), world.dense(alone, 0, broadcast)
        assert all(torch.equal(one[name], two[name]) for name in broadcast.weights)


def test_the_padding_row_never_moves(world):
    updates, broadcast = learned(world)
    decoded = compress(updates, broadcast.weights, range(6), 1)
    assert float(decoded.table_BMd[:, 0].abs().max()) == 0
    assert float(decoded.bias_BM[:, 0].abs().max()) == 0
    assert float(decoded.table_BMd[:, 1:].abs().min()) > 0


def test_rotations_differ_between_clients_and_do_not_show_the_seed_of_the_participation(world):
    updates, broadcast = learned(world)
    one, two = (
        compress(updates, broadcast.weights, seeds, 1).compressed for seeds in (range(6), range(6, 12))
    )
    assert one is not None and two is not None
    assert len({*one.seeds, *two.seeds}) == 12
    assert not {*one.seeds, *two.seeds} & set(range(12))


@pytest.mark.parametrize("bits", [1, 8, 32])
def test_no_private_number_is_in_a_message(world, bits):
    config = world.config(federated={"upload_bits": bits})
    sent, after = messages(world, config, world.people)
    for message, offsets, fisher in zip(sent, after.offsets_BS, after.fisher_BS, strict=True):
        private = torch.cat([offsets, fisher])
        assert not bool(torch.isin(private[private != 0], message.view(torch.float32)).any())


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


def test_under_the_full_loss_every_item_moves_whoever_did_what_if_what_was_seen_competes(world):
    config = world.config(objective={"seen": "kept"})
    broadcast = world.broadcast(config)
    updates, _ = world.learn(config, world.private(config), world.batch(), broadcast)
    for client in range(6):
        moved = world.dense(updates, client, broadcast)
        assert bool((moved["items"][1:] != 0).any(1).all())
        assert bool((moved["item_bias"][1:] != 0).all())


def test_with_what_was_seen_left_out_a_message_shows_what_never_competed_by_zeros(world):
    config, batch = world.config(), world.batch(first_seed=5)
    broadcast = world.broadcast(config)
    updates, _ = world.learn(config, world.private(config), batch, broadcast)
    still = 0
    for client, length in enumerate(batch.lengths):
        competed = ~world.out_of_play(config, batch, client).all(0)
        read = torch.zeros(13, dtype=torch.bool).index_fill(0, batch.items_BL[client, :length], True)
        moved = world.dense(updates, client, broadcast)
        assert (moved["item_bias"][1:] != 0).tolist() == competed[1:].tolist()
        assert (moved["items"][1:] != 0).any(1).tolist() == (competed | read)[1:].tolist()
        still += int((~competed[1:]).sum())
    assert still > 0


def test_nothing_sent_to_clients_is_personal(world):
    config = world.config(objective={"loss": "sampled"})
    broadcast = world.broadcast(config)
    assert "user" not in broadcast.weights
    assert all(value.ndim <= 2 for value in broadcast.weights.values())
    assert broadcast.negatives is not None
    assert len(set(broadcast.negatives.tolist())) == 5
    assert bool(((broadcast.negatives >= 1) & (broadcast.negatives <= 12)).all())
