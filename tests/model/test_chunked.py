"""The chunked read against its formula, event by event and head by head, gradients included."""

import pytest
import torch
from torch import Tensor

from pfsr.model.chunked import Sources, read

CLIENTS, CHUNKS, SIZE, HEADS, CHANNELS, COLUMNS = 2, 3, 4, 2, 3, 4
CASES = {
    "all": (4, 0, [True]),
    "late sources": (4, 2, [True]),
    "two sets of queries": (6, 2, [True, False]),
}
"""Sources, how many of them are of the chunk before, and for each set whether it reads the state."""


def mask_of(case: str) -> Tensor:
    """Queries see sources up to themselves; of late sources those before; without a state the nearest."""
    sources, overlap, sets = CASES[case]
    seen = torch.ones(SIZE, sources, dtype=torch.float64)
    seen = seen.tril(-1) if sources == SIZE and overlap else seen.tril(overlap)
    parts = [(seen if state else seen.triu(), torch.full((SIZE, COLUMNS), float(state))) for state in sets]
    return torch.cat([torch.cat(part, 1).double() for part in parts])


def leaves_of(case: str) -> list[Tensor]:
    """x, b, log-weights of sources, log-decays, log-weights of queries, and the sets of queries."""
    sources, _, sets = CASES[case]
    random = torch.Generator().manual_seed(0)

    def normal(*shape: int) -> Tensor:
        return torch.randn(CLIENTS, CHUNKS, *shape, generator=random, dtype=torch.float64).requires_grad_()

    given = [(SIZE, HEADS * CHANNELS), (SIZE, COLUMNS), (sources, HEADS), (HEADS,), (SIZE, HEADS)]
    return [normal(*shape) for shape in [*given, *[(SIZE, COLUMNS)] * len(sets)]]


def fast(case: str, *leaves: Tensor) -> Tensor:
    x, b, into, decay, out, *queries = leaves
    return torch.stack(read(Sources(x, b, into, decay), queries, out, mask_of(case), CASES[case][1]))


def slow(case: str, *leaves: Tensor) -> Tensor:
    """Every query, every source, one at a time; the state as the sum of what chunks before left in it."""
    sources, overlap, sets = CASES[case]
    x, b, into, decay, out, *queries = leaves
    x, masks = x.unflatten(-1, (HEADS, CHANNELS)), mask_of(case).split(SIZE)

    def one(chunk: int, query: int, c: Tensor, mask: Tensor, state: bool) -> Tensor:
        total = torch.zeros_like(x[:, 0, 0])
        for later in range(chunk + 1):
            for row in range(sources):
                home, event = divmod((chunk - later) * SIZE + row - overlap, SIZE)
                seen = float(mask[query, row]) if later == 0 else float(state and row < SIZE)
                if home < 0 or seen == 0:
                    continue
                log = out[:, chunk, query] + into[:, chunk - later, row]
                log = log + sum(decay[:, k] for k in range(chunk - later, chunk)) if later else log
                match = (b[:, home, event] * c[:, chunk, query]).sum(-1)
                total = total + (log.exp() * match[:, None])[..., None] * x[:, home, event]
        return total.flatten(-2)

    places = [(chunk, query) for chunk in range(CHUNKS) for query in range(SIZE)]
    rows = [
        torch.stack([one(*place, c, mask, state) for place in places], 1).unflatten(1, (CHUNKS, SIZE))
        for c, mask, state in zip(queries, masks, sets, strict=True)
    ]
    return torch.stack(rows)


@pytest.mark.parametrize("case", CASES)
def test_values_and_gradients_are_the_formulas(case):
    leaves = leaves_of(case)
    expected, actual = slow(case, *leaves), fast(case, *leaves)
    torch.testing.assert_close(actual, expected, rtol=1e-11, atol=1e-11)
    weight = torch.randn(expected.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    wanted = torch.autograd.grad(expected, leaves, weight)
    found = torch.autograd.grad(actual, leaves, weight)
    for rough, exact in zip(found, wanted, strict=True):
        torch.testing.assert_close(rough, exact, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("case", CASES)
def test_a_graph_that_is_kept_gives_the_same_gradients_again(case):
    leaves = leaves_of(case)
    y = fast(case, *leaves)
    weights = torch.randn(2, *y.shape, dtype=torch.float64)
    kept = [torch.autograd.grad(y, leaves, w, retain_graph=True) for w in (*weights, weights[0])]
    for first, again in zip(kept[0], kept[2], strict=True):
        assert torch.equal(first, again)


def test_it_refuses_to_be_differentiated_twice():
    x, *rest = leaves_of("all")
    y = fast("all", x, *rest)
    (grad,) = torch.autograd.grad(y, x, torch.ones_like(y).requires_grad_(), create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        grad.sum().backward()
