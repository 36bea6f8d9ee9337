"""The hand-written losses and gradients against torch's cross-entropy and autograd."""

import math
from functools import partial

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from pfsr.model.objective import (
    LossAndGradients,
    NextItems,
    Seen,
    full_cross_entropy,
    sampled_cross_entropy,
    thin_cross_entropy,
)
from pfsr.model.thin import write_out

BATCH, EVENTS, WIDTH, ITEMS, NEGATIVES = 3, 7, 5, 11, 4
LENGTHS = [7, 1, 4]
assert_exact = partial(torch.testing.assert_close, rtol=1e-9, atol=1e-12)


def draw(rows: int, seed: int = 0) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Queries, tables, biases, and targets in 1 .. ``rows`` - 1 (0 at padding)."""
    random = torch.Generator().manual_seed(seed)
    shapes = (BATCH, EVENTS, WIDTH), (BATCH, rows, WIDTH), (BATCH, rows)
    query, table, bias = (torch.randn(shape, generator=random, dtype=torch.float64) for shape in shapes)
    targets = torch.randint(1, rows, (BATCH, EVENTS), generator=random)
    for client, length in enumerate(LENGTHS):
        targets[client, length:] = 0
    return query, table, bias, targets


def by_autograd(
    query: Tensor,
    table: Tensor,
    bias: Tensor,
    targets: Tensor,
    negatives: int | None,
    out_of_play: set[tuple[int, int, int]] = frozenset(),
):
    """Loss and gradients as LossAndGradients defines them, one client at a time, from dense logits."""
    leaves = [p.clone().requires_grad_() for p in (query, table, bias)]
    loss_BL = torch.zeros(BATCH, EVENTS, dtype=torch.float64)
    total_of_means = torch.zeros((), dtype=torch.float64)
    for client, length in enumerate(LENGTHS):
        target_T = targets[client, :length]
        logits = leaves[0][client, :length] @ leaves[1][client].T + leaves[2][client]
        barred = torch.zeros(logits.shape, dtype=torch.bool)
        for of_client, event, row in out_of_play:
            if of_client == client and row != target_T[event]:
                barred[event, row] = True
        logits = logits.masked_fill(barred, -torch.inf)
        if negatives is None:
            loss = F.cross_entropy(logits[:, 1:], target_T - 1, reduction="none")
        else:
            loss = sampled(logits, target_T, negatives)
        loss_BL[client, :length] = loss.detach()
        total_of_means = total_of_means + loss.mean()
    query_grad, table_grad, bias_grad = torch.autograd.grad(total_of_means, leaves)
    own_loss = query_grad * torch.tensor(LENGTHS, dtype=torch.float64)[:, None, None]
    return LossAndGradients(loss_BL, own_loss, table_grad, bias_grad)


def sampled(logits_TM: Tensor, target_T: Tensor, negatives: int) -> Tensor:
    correction = math.log(ITEMS / negatives)
    per_event = []
    for logits, target in zip(logits_TM, target_T.tolist(), strict=True):
        others = [logits[k] + correction for k in range(negatives) if k != target]
        per_event.append(torch.logsumexp(torch.stack([logits[target], *others]), 0) - logits[target])
    return torch.stack(per_event)


def assert_same(actual: LossAndGradients, expected: LossAndGradients) -> None:
    for name in LossAndGradients._fields:
        assert_exact(getattr(actual, name), getattr(expected, name))


def test_full_loss_is_cross_entropy_over_the_catalogue():
    query, table, bias, targets = draw(ITEMS + 1)
    actual = full_cross_entropy(query, table, bias, NextItems(targets, LENGTHS))
    assert_same(actual, by_autograd(query, table, bias, targets, None))
    assert float(actual.table_BMd[:, 0].abs().max()) == 0
    assert float(actual.bias_BM[:, 0].abs().max()) == 0


@pytest.mark.parametrize("seed", range(3))
def test_sampled_loss_is_cross_entropy_against_the_negatives(seed):
    query, table, bias, targets = draw(NEGATIVES + 5, seed)
    targets[0, :3] = torch.tensor([2, NEGATIVES + 1, 2])
    actual = sampled_cross_entropy(query, table, bias, NextItems(targets, LENGTHS), NEGATIVES, ITEMS)
    assert_same(actual, by_autograd(query, table, bias, targets, NEGATIVES))


def pairs(out_of_play: set[tuple[int, int, int]]) -> list[Seen]:
    seen = []
    for client in range(BATCH):
        own = {pair[1:] for pair in out_of_play if pair[0] == client}
        always = [
            row for row in range(ITEMS + 1) if all((event, row) in own for event in range(LENGTHS[client]))
        ]
        some = sorted((event, row) for event, row in own if row not in always)
        columns = always, [event for event, _ in some], [row for _, row in some]
        seen.append(Seen(*(torch.tensor(column, dtype=torch.int64) for column in columns)))
    return seen


@pytest.mark.parametrize("negatives", [None, NEGATIVES])
def test_what_was_seen_does_not_compete_unless_it_is_the_target(negatives):
    query, table, bias, targets = draw(ITEMS + 1)
    targets[0, 3], targets[2, 2] = 2, 1
    out_of_play = {(0, 0, 1), (0, 3, 1), (0, 3, 2), (0, 3, 3), (2, 2, 1), (2, 2, 3)}
    out_of_play |= {(2, event, 0) for event in range(4)} | {(2, event, 2) for event in range(4)}
    wanted = NextItems(targets, LENGTHS, pairs(out_of_play))
    if negatives is None:
        actual = full_cross_entropy(query, table, bias, wanted)
    else:
        actual = sampled_cross_entropy(query, table, bias, wanted, negatives, ITEMS)
    assert_same(actual, by_autograd(query, table, bias, targets, negatives, out_of_play))
    untouched = by_autograd(query, table, bias, targets, negatives)
    assert float(actual.loss_BL[0, 3]) < float(untouched.loss_BL[0, 3])


@pytest.mark.parametrize(
    "out_of_play", [set(), {(0, 3, 1), (0, 3, 2), (2, 0, 3), (2, 1, 3), (2, 2, 3), (2, 3, 3)}]
)
def test_the_thin_loss_is_the_full_one(out_of_play):
    query, tables, biases, targets = draw(ITEMS + 1)
    table, bias = tables[:1].expand(BATCH, -1, -1), biases[:1].expand(BATCH, -1)
    wanted = NextItems(targets, LENGTHS, pairs(out_of_play) if out_of_play else ())
    thin = thin_cross_entropy(query, table[0], bias[0], wanted)
    written = thin._replace(table_BMd=write_out(thin.table_BMd), bias_BM=write_out(thin.bias_BM))
    assert_same(written, by_autograd(query, table, bias, targets, None, out_of_play))


def test_with_everything_else_seen_nothing_is_left_to_learn():
    query, table, bias, targets = draw(ITEMS + 1)
    everything = {(client, 0, row) for client in range(BATCH) for row in range(1, ITEMS + 1)}
    done = full_cross_entropy(query, table, bias, NextItems(targets, LENGTHS, pairs(everything)))
    assert float(done.loss_BL[:, 0].abs().max()) < 1e-12
    assert float(done.query_BLd[:, 0].abs().max()) < 1e-12


def test_a_negative_that_is_the_target_is_left_out():
    query, table, bias, targets = draw(NEGATIVES + 5)
    targets[1, 0] = 3
    hit = sampled_cross_entropy(query, table, bias, NextItems(targets, LENGTHS), NEGATIVES, ITEMS)
    score = query[1, 0] @ table[1].T + bias[1]
    others = score[[0, 1, 2]] + math.log(ITEMS / NEGATIVES)
    expected = torch.logsumexp(torch.cat([score[3:4], others]), 0) - score[3]
    assert_exact(hit.loss_BL[1, 0], expected)


@pytest.mark.parametrize("order", ["ascending", "descending"])
def test_all_items_as_negatives_are_the_full_loss(order):
    query, table, bias, targets = draw(ITEMS + 1)
    full = full_cross_entropy(query, table, bias, NextItems(targets, LENGTHS))
    rows = torch.arange(1, ITEMS + 1)
    rows = rows if order == "ascending" else rows.flip(0)
    place = torch.zeros(ITEMS + 1, dtype=torch.int64)
    place[rows] = torch.arange(ITEMS)
    local = place[targets]
    wanted = NextItems(local, LENGTHS)
    every = sampled_cross_entropy(query, table[:, rows], bias[:, rows], wanted, ITEMS, ITEMS)
    assert_exact(every.loss_BL, full.loss_BL)
    assert_exact(every.query_BLd, full.query_BLd)
    assert_exact(every.table_BMd, full.table_BMd[:, rows])
    assert_exact(every.bias_BM, full.bias_BM[:, rows])


@pytest.mark.parametrize("negatives", [None, NEGATIVES])
def test_padding_is_neither_read_nor_written(negatives):
    query, table, bias, targets = draw(ITEMS + 1)
    plain = loss_of(negatives, query, table, bias, targets)
    for client, length in enumerate(LENGTHS):
        query[client, length:] = torch.nan
        targets[client, length:] = 5
        assert float(plain.loss_BL[client, length:].abs().sum()) == 0
        assert float(plain.query_BLd[client, length:].abs().sum()) == 0
    assert_same(loss_of(negatives, query, table, bias, targets), plain)


@pytest.mark.parametrize("negatives", [None, NEGATIVES])
@pytest.mark.parametrize("scale", [0.0, 1e4])
def test_extreme_scores_give_finite_numbers(negatives, scale):
    query, table, bias, targets = (p.float() if p.is_floating_point() else p for p in draw(ITEMS + 1))
    done = loss_of(negatives, query * scale, table, bias * 0, targets)
    assert all(bool(part.isfinite().all()) for part in done)


def loss_of(negatives: int | None, query: Tensor, table: Tensor, bias: Tensor, targets: Tensor):
    if negatives is None:
        return full_cross_entropy(query, table, bias, NextItems(targets, LENGTHS))
    return sampled_cross_entropy(query, table, bias, NextItems(targets, LENGTHS), negatives, ITEMS)


def test_full_loss_without_knowledge_is_that_of_chance():
    query, table, bias, targets = draw(ITEMS + 1)
    done = full_cross_entropy(query * 0, table, bias * 0, NextItems(targets, LENGTHS))
    torch.testing.assert_close(done.loss_BL[0], torch.full((EVENTS,), math.log(ITEMS)).double())


def test_sampled_loss_without_knowledge_counts_the_target_and_a_catalogue_of_others():
    query, table, bias, targets = draw(ITEMS + 1)
    targets[targets > 0] = NEGATIVES + 1
    done = sampled_cross_entropy(query * 0, table, bias * 0, NextItems(targets, LENGTHS), NEGATIVES, ITEMS)
    torch.testing.assert_close(done.loss_BL[0], torch.full((EVENTS,), math.log(ITEMS + 1)).double())
