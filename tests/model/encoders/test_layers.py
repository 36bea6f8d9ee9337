"""What must hold of every encoder: causality, padding, weights per client, steps, names and first values."""

import math
from functools import partial
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from pfsr.config import ModelConfig
from pfsr.errors import PfsrError
from pfsr.model.amb import Weights, init_block
from pfsr.model.encoder import ITEM_BIAS, ITEMS, embed, empty_states, encode, encode_step, init_weights
from pfsr.model.encoders.layers import layer_count, layers

SMALL: dict[str, Any] = {"d_model": 16, "heads": 2, "d_state": 4, "d_conv": 3, "blocks": 2, "positions": 30}
CONFIGS = {
    "amb and ffn": ModelConfig(ffn=2, **SMALL),
    "sasrec": ModelConfig(encoder="sasrec", **SMALL),
    "gru4rec": ModelConfig(encoder="gru4rec", **SMALL),
    "gru4rec, wider": ModelConfig(encoder="gru4rec", expand=2, ffn=1, **SMALL),
    "mamba4rec": ModelConfig(encoder="mamba4rec", expand=2, **SMALL),
    "lrurec": ModelConfig(encoder="lrurec", **SMALL),
}
STEPPED = ("amb and ffn", "mamba4rec")

every_encoder = pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
assert_exact = partial(torch.testing.assert_close, rtol=1e-9, atol=1e-9)


def read(weights: Weights, items_BL: Tensor, config: ModelConfig) -> Tensor:
    return encode(weights, embed(weights[ITEMS], items_BL), items_BL > 0, config)


def without_items(weights: Weights) -> Weights:
    return {name: weight for name, weight in weights.items() if name not in (ITEMS, ITEM_BIAS)}


@every_encoder
@pytest.mark.parametrize("cut", [1, 37])
def test_the_future_changes_no_past_query(config, weights_of, histories, cut):
    weights, items = weights_of(config), histories(2, 50)
    other = items.clone()
    other[:, cut:] = histories(2, 50 - cut, seed=7)
    before, after = read(weights, items, config), read(weights, other, config)
    torch.testing.assert_close(before[:, :cut], after[:, :cut], rtol=0, atol=1e-12)
    assert not torch.allclose(before[:, cut:], after[:, cut:])


@every_encoder
def test_every_event_so_far_and_none_later_has_a_gradient(config, weights_of, histories):
    weights, items = weights_of(config), histories(1, 12)
    x_BLd = embed(weights[ITEMS], items).requires_grad_()
    query = encode(weights, x_BLd, items > 0, config)[:, 7]
    (gradient,) = torch.autograd.grad((query**3).sum(), x_BLd)
    assert float(gradient[:, 8:].abs().max()) == 0
    assert float(gradient[:, :8].abs().amax(-1).min()) > 0


@every_encoder
@pytest.mark.parametrize("padding", [1, 40])
def test_padding_on_either_side_changes_nothing(config, weights_of, histories, padding):
    weights, items = weights_of(config), histories(2, 45)
    plain = read(weights, items, config)
    left = read(weights, F.pad(items, (padding, 0)), config)[:, padding:]
    right = read(weights, F.pad(items, (0, padding)), config)[:, : items.shape[1]]
    assert_exact(left, plain)
    assert_exact(right, plain)


@every_encoder
def test_a_batch_of_unequal_histories_is_each_history_alone(config, weights_of, histories):
    weights, items = weights_of(config), histories(3, 20)
    items[0, 5:], items[1, :9] = 0, 0
    together = read(weights, items, config)
    for client, real in enumerate((slice(0, 5), slice(9, 20), slice(0, 20))):
        alone = read(weights, items[client : client + 1, real], config)
        assert_exact(together[client : client + 1, real], alone)


@every_encoder
def test_padding_gives_no_gradient(config, weights_of, histories):
    weights = weights_of(config)
    items = F.pad(histories(1, 10), (4, 4))
    x_BLd = embed(weights[ITEMS], items).requires_grad_()
    (encode(weights, x_BLd, items > 0, config)[:, 4:14] ** 3).sum().backward()
    assert x_BLd.grad is not None
    assert bool(x_BLd.grad.isfinite().all())
    assert float(x_BLd.grad[items == 0].abs().max()) == 0


@every_encoder
def test_weights_of_each_client_are_separate_models(config, weights_of, histories):
    models, items = [weights_of(config, 0), weights_of(config, 1)], histories(2, 40)
    x_BLd = embed(models[0][ITEMS], items)
    own = {name: torch.stack([model[name] for model in models]) for name in without_items(models[0])}
    together = encode(own, x_BLd, items > 0, config)
    for client, weights in enumerate(models):
        row = slice(client, client + 1)
        assert_exact(together[row], encode(weights, x_BLd[row], items[row] > 0, config))


@every_encoder
def test_gradients_of_copies_sum_to_those_of_shared_weights(config, weights_of, histories):
    weights, items = weights_of(config), histories(3, 25)
    x_BLd = embed(weights[ITEMS], items)
    shared = {n: w.clone().requires_grad_() for n, w in without_items(weights).items()}
    copies = {n: w.expand(3, *w.shape).clone().requires_grad_() for n, w in without_items(weights).items()}
    (encode(shared, x_BLd, items > 0, config) ** 3).sum().backward()
    (encode(copies, x_BLd, items > 0, config) ** 3).sum().backward()
    for name, copy in copies.items():
        assert copy.grad is not None
        torch.testing.assert_close(copy.grad.sum(0), shared[name].grad, rtol=1e-8, atol=1e-8)
        if name != "positions":
            assert float(copy.grad.abs().amax()) > 0, f"{name} does nothing"


@pytest.mark.parametrize("name", STEPPED)
def test_all_at_once_is_step_by_step_where_there_are_steps(name, weights_of, histories):
    config = CONFIGS[name]
    weights, items = weights_of(config), histories(2, 33)
    states, queries = empty_states(2, config, weights[ITEMS]), []
    for t in range(33):
        x_B1d = embed(weights[ITEMS], items[:, t : t + 1])
        states, query_B1d = encode_step(weights, states, x_B1d, config)
        queries.append(query_B1d)
    assert_exact(torch.cat(queries, 1), read(weights, items, config))


@pytest.mark.parametrize("name", [name for name in CONFIGS if name not in STEPPED])
def test_without_steps_the_way_out_is_told(name, weights_of, histories):
    config = CONFIGS[name]
    weights = weights_of(config)
    said = f"encoder {config.encoder} has no constant-size state; use score, which reads the history again"
    with pytest.raises(PfsrError, match=said):
        empty_states(1, config, weights[ITEMS])
    with pytest.raises(PfsrError, match=said):
        encode_step(weights, [], embed(weights[ITEMS], histories(1, 1)), config)


@every_encoder
def test_one_mask_per_layer_silences_what_it_adds(config, weights_of, histories):
    weights, items = weights_of(config), histories(2, 6)
    x_BLd, count = embed(weights[ITEMS], items), layer_count(config)
    assert (
        count
        == len(layers(config))
        == config.blocks * (1 if config.encoder == "gru4rec" and not config.ffn else 2)
    )
    ones = [torch.ones_like(x_BLd)] * (count + 1)
    assert_exact(encode(weights, x_BLd, items > 0, config, ones), read(weights, items, config))
    silent = [torch.ones_like(x_BLd)] + [torch.zeros_like(x_BLd)] * count
    place = weights["positions"][:6] if "positions" in weights else 0
    alone = F.rms_norm(x_BLd + place, (16,), eps=1e-6) * weights["scale"]
    assert_exact(encode(weights, x_BLd, items > 0, config, silent), alone)
    for site in range(count + 1):
        masks = [torch.zeros_like(x_BLd) if index == site else one for index, one in enumerate(ones)]
        assert not torch.allclose(
            encode(weights, x_BLd, items > 0, config, masks), read(weights, items, config)
        )


@every_encoder
def test_fresh_weights_follow_from_the_seed_and_are_sorted(config):
    one, same, other = (init_weights(config, 5, seed) for seed in (3, 3, 4))
    assert list(one) == sorted(one)
    assert all(torch.equal(one[name], same[name]) for name in one)
    assert all(weight.dtype == torch.float32 and bool(weight.isfinite().all()) for weight in one.values())
    moving = [name for name in one if name.endswith(("project", "into", "up", "down"))]
    assert moving
    assert not any(torch.equal(one[name], other[name]) for name in moving)


def test_the_plain_amb_starts_from_the_values_it_always_had():
    config, generator = ModelConfig(), torch.Generator().manual_seed(11)
    table = torch.randn(8, config.d_model, generator=generator) * 0.02
    table[0] = 0
    expected = {"items": table, "item_bias": torch.zeros(8), "scale": torch.ones(config.d_model)}
    for index in range(config.blocks):
        for name, weight in init_block(config, generator).items():
            expected[f"blocks.{index}.{name}"] = weight
    fresh = init_weights(config, 7, seed=11)
    assert set(fresh) == set(expected)
    assert all(torch.equal(fresh[name], weight) for name, weight in expected.items())


def test_the_plain_state_space_block_has_no_flipped_view():
    weights = init_weights(CONFIGS["mamba4rec"], 5, seed=0)
    assert not any("flip" in name or "gate" in name for name in weights)
    inner = 32
    assert weights["blocks.0.project"].shape == (16, 2 * inner + 2 * 4 + 2)
    assert weights["blocks.1.ffn.up"].shape == (16, 64)


@every_encoder
def test_what_fresh_layers_add_keeps_the_stream_in_bounds(config):
    weights = init_weights(config, 400, seed=0)
    items = torch.randint(1, 401, (4, 60), generator=torch.Generator().manual_seed(0))
    x_BLd = weights[ITEMS][items] * math.sqrt(16) / 0.08  # vectors of size 1
    for layer in layers(config):
        added = layer.apply(weights, x_BLd, torch.ones(4, 60, 1))
        assert 0.02 < float(added.square().mean().sqrt()) < 2
        x_BLd = x_BLd + added
