"""What must hold of a whole encoder: causality, padding, steps, one set of weights per client."""

import math
from functools import partial

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from pfsr.config import ModelConfig
from pfsr.model.amb import Weights
from pfsr.model.encoder import (
    ITEM_BIAS,
    ITEMS,
    embed,
    empty_states,
    encode,
    encode_step,
    init_weights,
    scores,
)
from pfsr.model.response import USER

assert_exact = partial(torch.testing.assert_close, rtol=1e-9, atol=1e-9)


def read(weights: Weights, items_BL: Tensor, config: ModelConfig) -> Tensor:
    return encode(weights, embed(weights[ITEMS], items_BL), items_BL > 0, config)


def read_step_by_step(weights: Weights, items_BL: Tensor, config: ModelConfig) -> Tensor:
    states = empty_states(len(items_BL), config, weights[ITEMS])
    queries = []
    for t in range(items_BL.shape[1]):
        x_B1d = embed(weights[ITEMS], items_BL[:, t : t + 1])
        states, query_B1d = encode_step(weights, states, x_B1d, config)
        queries.append(query_B1d)
    return torch.cat(queries, 1)


def per_client(weights: Weights, others: Weights) -> Weights:
    """Two clients, each with weights of its own."""
    return {n: torch.stack([w, others[n]]) for n, w in weights.items() if n not in (ITEMS, ITEM_BIAS)}


@pytest.mark.parametrize("length", [1, 2, 4, 33, 75])
def test_all_at_once_is_step_by_step(config, weights_of, histories, length):
    weights, items = weights_of(config), histories(2, length)
    at_once = read(weights, items, config)
    assert_exact(at_once, read_step_by_step(weights, items, config))


def test_step_by_step_with_weights_of_each_client(config, weights_of, histories):
    table = weights_of(config)[ITEMS]
    weights = per_client(weights_of(config, 0), weights_of(config, 1)) | {ITEMS: table}
    weights[USER] = torch.randn(2, 16, generator=torch.Generator().manual_seed(0)).double()
    items = histories(2, 40)
    at_once = read(weights, items, config)
    assert_exact(at_once, read_step_by_step(weights, items, config))


def test_weights_of_each_client_are_separate_models(config, weights_of, histories):
    models = [weights_of(config, 0), weights_of(config, 1)]
    items = histories(2, 40)
    x_BLd = embed(models[0][ITEMS], items)
    together = encode(per_client(*models), x_BLd, items > 0, config)
    for client, weights in enumerate(models):
        own = slice(client, client + 1)
        alone = encode(weights, x_BLd[own], items[own] > 0, config)
        assert_exact(together[own], alone)
    assert not torch.allclose(together[0], encode(models[1], x_BLd[:1], items[:1] > 0, config)[0])


@pytest.mark.parametrize("cut", [1, 31, 32, 50])
def test_the_future_changes_no_past_query(config, weights_of, histories, cut):
    weights, items = weights_of(config), histories(2, 70)
    other = items.clone()
    other[:, cut:] = histories(2, 70 - cut, seed=7)
    before, after = read(weights, items, config), read(weights, other, config)
    torch.testing.assert_close(before[:, :cut], after[:, :cut], rtol=0, atol=1e-12)
    assert not torch.allclose(before[:, cut:], after[:, cut:])


def test_a_truncated_history_has_the_same_queries(config, weights_of, histories):
    weights, items = weights_of(config), histories(2, 70)
    torch.testing.assert_close(read(weights, items, config)[:, :37], read(weights, items[:, :37], config))


@pytest.mark.parametrize("padding", [1, 3, 40])
def test_padding_on_either_side_changes_nothing(config, weights_of, histories, padding):
    weights, items = weights_of(config), histories(2, 45)
    plain = read(weights, items, config)
    left = read(weights, F.pad(items, (padding, 0)), config)[:, padding:]
    right = read(weights, F.pad(items, (0, padding)), config)[:, : items.shape[1]]
    torch.testing.assert_close(left, plain, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(right, plain, rtol=1e-12, atol=1e-12)


def test_padding_gives_no_gradient(config, weights_of, histories):
    weights = weights_of(config)
    items = F.pad(histories(1, 10), (4, 4))
    x_BLd = embed(weights[ITEMS], items).requires_grad_()
    (encode(weights, x_BLd, items > 0, config)[:, 4:14] ** 3).sum().backward()
    assert x_BLd.grad is not None
    assert float(x_BLd.grad[items == 0].abs().max()) == 0
    assert float(x_BLd.grad[items > 0].abs().min()) > 0


def test_state_size_does_not_depend_on_the_history(config, weights_of, histories):
    weights, items = weights_of(config), histories(1, 60)
    states = empty_states(1, config, weights[ITEMS])
    sizes = []
    for t in range(60):
        states, _ = encode_step(weights, states, embed(weights[ITEMS], items[:, t : t + 1]), config)
        parts = [part for state in states for part in (state.conv_BKD, *state.scan)]
        sizes.append([tuple(part.shape) for part in parts])
        assert all(part.untyped_storage().nbytes() <= 2 * part.nbytes for part in parts)
    assert all(size == sizes[0] for size in sizes)


def test_the_personal_vector_is_added_to_every_query(config, weights_of, histories):
    weights, items = weights_of(config), histories(2, 5)
    user = torch.randn(2, 16, generator=torch.Generator().manual_seed(0)).double()
    moved = read(weights | {USER: user}, items, config)
    torch.testing.assert_close(moved, read(weights, items, config) + user[:, None])


def test_scores_are_inner_products_and_padding_is_never_recommended(config, weights_of):
    weights = weights_of(config)
    query = torch.randn(3, 16, generator=torch.Generator().manual_seed(0)).double()
    result = scores(weights, query)
    by_hand = torch.einsum("bd,id->bi", query, weights[ITEMS]) + weights[ITEM_BIAS]
    torch.testing.assert_close(result[:, 1:], by_hand[:, 1:])
    assert bool((result[:, 0] == -torch.inf).all())


def test_embedding_scales_the_table(weights_of, config):
    table = weights_of(config)[ITEMS]
    torch.testing.assert_close(embed(table, torch.tensor([[2]]))[0, 0], table[2] * math.sqrt(16))


def test_fresh_weights_follow_from_the_seed(config):
    one, same, other = (init_weights(config, 5, seed) for seed in (3, 3, 4))
    assert all(torch.equal(one[n], same[n]) for n in one)
    assert not torch.equal(one[ITEMS], other[ITEMS])
    assert one[ITEMS].shape == (6, 16)
    assert float(one[ITEMS][0].abs().max()) == 0
