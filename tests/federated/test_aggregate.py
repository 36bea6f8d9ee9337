import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pfsr.errors import PfsrError
from pfsr.federated.aggregate import PartialSum, add, partial_sum, pseudo_gradient
from pfsr.federated.update import Updates

CLIENTS, ITEMS = 6, 9


def draw_updates(seed: int, sparse: bool = True) -> tuple[Updates, dict[str, torch.Tensor]]:
    random = torch.Generator().manual_seed(seed)
    weights = {
        "items": torch.zeros(ITEMS + 1, 4),
        "item_bias": torch.zeros(ITEMS + 1),
        "w": torch.zeros(2, 3),
    }
    rows = torch.stack([torch.randperm(ITEMS, generator=random)[:5] + 1 for _ in range(CLIENTS)])
    count = rows.shape[1] if sparse else ITEMS + 1
    updates = Updates(
        {"w": torch.randn(CLIENTS, 2, 3, generator=random)},
        torch.randn(CLIENTS, count, 4, generator=random),
        torch.randn(CLIENTS, count, generator=random),
        rows if sparse else None,
        torch.randint(1, 50, (CLIENTS,), generator=random).float(),
        torch.rand(CLIENTS, generator=random),
        torch.rand(CLIENTS, 2, generator=random),
        torch.randint(0, 2, (CLIENTS, 3), generator=random).float(),
    )
    return updates, weights


def some(updates: Updates, clients: list[int]) -> Updates:
    deltas = {name: delta[clients] for name, delta in updates.deltas.items()}
    rest = [None if part is None else part[clients] for part in updates[1:]]
    return Updates._make([deltas, *rest])


def assert_same(actual: PartialSum, expected: PartialSum) -> None:
    for one, two in zip(actual[1:], expected[1:], strict=True):
        torch.testing.assert_close(torch.as_tensor(one), torch.as_tensor(two), rtol=1e-5, atol=1e-4)
    assert list(actual.deltas) == list(expected.deltas)
    for name, delta in actual.deltas.items():
        torch.testing.assert_close(delta, expected.deltas[name], rtol=1e-5, atol=1e-4)


@settings(deadline=None)
@given(
    gateway=st.lists(st.integers(0, 3), min_size=CLIENTS, max_size=CLIENTS),
    seed=st.integers(0, 1000),
    sparse=st.booleans(),
    order=st.randoms(use_true_random=False),
)
def test_any_partition_of_a_cohort_gives_the_same_sum(gateway, seed, sparse, order):
    updates, weights = draw_updates(seed, sparse)
    groups = [[c for c in range(CLIENTS) if gateway[c] == g] for g in sorted(set(gateway))]
    order.shuffle(groups)
    parts = [partial_sum(some(updates, group), weights) for group in groups]
    assert_same(add(parts), partial_sum(updates, weights))


@pytest.mark.parametrize("sparse", [True, False])
def test_the_pseudo_gradient_is_minus_the_mean_movement_weighted_by_events(sparse):
    updates, weights = draw_updates(0, sparse)
    gradient = pseudo_gradient(partial_sum(updates, weights), 0.5)
    events = updates.weight_B.numpy()
    mean = np.average(updates.deltas["w"].numpy(), axis=0, weights=events)
    np.testing.assert_allclose(gradient["w"].numpy(), -mean / 0.5, rtol=1e-5)
    table = np.zeros((CLIENTS, ITEMS + 1, 4))
    for client in range(CLIENTS):
        rows = np.arange(ITEMS + 1) if updates.rows_BM is None else updates.rows_BM[client].numpy()
        for row, moved in zip(rows, updates.table_BMd[client].numpy(), strict=True):
            table[client, row] += moved
    expected = -np.average(table, axis=0, weights=events) / 0.5
    np.testing.assert_allclose(gradient["items"].numpy()[1:], expected[1:], rtol=1e-4, atol=1e-5)
    assert float(gradient["items"][0].abs().max()) == 0
    assert list(gradient) == list(weights)


def test_sums_count_clients_events_and_loss():
    updates, weights = draw_updates(3)
    total = partial_sum(updates, weights)
    assert total.clients == CLIENTS
    assert float(total.weight) == float(updates.weight_B.sum())
    torch.testing.assert_close(total.loss, (updates.weight_B * updates.loss_B).sum())
    torch.testing.assert_close(total.within_T, updates.within_BT.sum(0))


def test_a_client_with_twice_the_events_counts_twice():
    updates, weights = draw_updates(0)
    one = some(updates, [0])._replace(weight_B=torch.tensor([8.0]))
    half = one._replace(weight_B=torch.tensor([4.0]))
    other = some(updates, [1])._replace(weight_B=torch.tensor([8.0]))
    whole = pseudo_gradient(add([partial_sum(u, weights) for u in (one, other)]), 1.0)
    twice = pseudo_gradient(add([partial_sum(u, weights) for u in (half, half, other)]), 1.0)
    for name, value in whole.items():
        torch.testing.assert_close(twice[name], value)


@pytest.mark.parametrize("bad", [torch.nan, torch.inf, -torch.inf])
@pytest.mark.parametrize("name", ["w", "items", "item_bias"])
def test_an_update_that_is_not_finite_is_refused(bad, name):
    updates, weights = draw_updates(0)
    fields = {"w": updates.deltas["w"], "items": updates.table_BMd, "item_bias": updates.bias_BM}
    fields[name].view(-1)[-1] = bad
    with pytest.raises(PfsrError, match=rf"{name} .*not finite.*lower") as caught:
        pseudo_gradient(partial_sum(updates, weights), 0.1)
    assert "\n" not in str(caught.value)
