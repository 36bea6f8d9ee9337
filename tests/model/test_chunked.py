"""The chunked read against its formula as one masked product per head, gradients included."""

import pytest
import torch
from torch import Tensor

from pfsr.model.chunked import Sources, read

CLIENTS, CHUNKS, HEADS, CHANNELS, COLUMNS = 2, 3, 2, 3, 4
CASES = {
    "all before, with a state": (4, 4, 0, True),
    "its own chunk alone": (4, 4, 0, False),
    "some of the chunk before": (4, 6, 2, False),
    "late sources, with a state": (4, 4, 2, True),
}


def mask_of(size: int, sources: int, overlap: int) -> Tensor:
    """Queries see sources up to themselves; of late sources, those before."""
    seen = torch.ones(size, sources, dtype=torch.float64)
    return seen.tril(overlap) if sources > size or not overlap else seen.tril(-1)


def leaves_of(case: str) -> list[Tensor]:
    """x, b, c, log-weights of sources and of queries, and log-decays where there is a state."""
    size, sources, _, state = CASES[case]
    random = torch.Generator().manual_seed(0)

    def normal(*shape: int) -> Tensor:
        return torch.randn(CLIENTS, CHUNKS, *shape, generator=random, dtype=torch.float64).requires_grad_()

    shapes = [(size, HEADS * CHANNELS), (size, COLUMNS), (size, COLUMNS), (sources, HEADS), (size, HEADS)]
    return [normal(*shape) for shape in shapes] + ([normal(HEADS)] if state else [])


def fast(case: str, *leaves: Tensor) -> Tensor:
    size, sources, overlap, _ = CASES[case]
    x, b, c, into, out, *decay = leaves
    given = Sources(x, b, into, decay[0] if decay else None)
    return read(given, c, out, mask_of(size, sources, overlap), overlap)


def slow(case: str, *leaves: Tensor) -> Tensor:
    """Every query, every source, one at a time; the state as the sum of what chunks before left in it."""
    size, sources, overlap, _ = CASES[case]
    x, b, c, into, out, *decay = leaves
    mask, rows = mask_of(size, sources, overlap), []
    x = x.unflatten(-1, (HEADS, CHANNELS))
    for chunk in range(CHUNKS):
        for query in range(size):
            total = torch.zeros_like(x[:, 0, 0])
            for later in range(chunk + 1):
                for row in range(sources):
                    home, event = divmod((chunk - later) * size + row - overlap, size)
                    seen = float(mask[query, row]) if later == 0 else float(bool(decay) and row < size)
                    if home < 0 or seen == 0:
                        continue
                    log = out[:, chunk, query] + into[:, chunk - later, row]
                    log = log + sum(decay[0][:, k] for k in range(chunk - later, chunk)) if later else log
                    match = (b[:, home, event] * c[:, chunk, query]).sum(-1)
                    total = total + (log.exp() * match[:, None])[..., None] * x[:, home, event]
            rows.append(total.flatten(-2))
    return torch.stack(rows, 1).unflatten(1, (CHUNKS, size))


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
    x, *rest = leaves_of("its own chunk alone")
    y = fast("its own chunk alone", x, *rest)
    (grad,) = torch.autograd.grad(y, x, torch.ones_like(y).requires_grad_(), create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        grad.sum().backward()
