"""Thin movements say what the written-out ones say: against plain matrices, for any shape."""

import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from pfsr.model.thin import Thin, norms, one_of, scale, weighted_sum, write_out

ROWS, WIDTH = 7, 3


@st.composite
def movements(draw) -> Thin:
    lengths = draw(st.lists(st.integers(1, 4), min_size=1, max_size=4))
    random = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))
    events = sum(lengths)
    left, right, own = (
        torch.randn(events, size, generator=random, dtype=torch.float64) for size in (ROWS, WIDTH, WIDTH)
    )
    if draw(st.booleans()):
        return Thin(left, right[:, 0], lengths)
    rows = torch.randint(0, ROWS, (events,), generator=random)
    return Thin(left, right, lengths, rows, own)


def by_hand(moved: Thin) -> Tensor:
    """Event by event, with nothing but outer products."""
    clients, start = [], 0
    for length in moved.lengths:
        total = torch.zeros(ROWS, *moved.right_NK.shape[1:], dtype=torch.float64)
        for event in range(start, start + length):
            for row in range(ROWS):
                total[row] += moved.left_NM[event, row] * moved.right_NK[event]
            if moved.rows_N is not None:
                total[moved.rows_N[event]] += moved.own_NK[event]
        clients.append(total)
        start += length
    return torch.stack(clients)


@given(movements())
def test_written_out_it_is_the_sum_of_its_terms(moved):
    dense = by_hand(moved)
    torch.testing.assert_close(write_out(moved), dense)
    torch.testing.assert_close(norms(moved), dense.flatten(1).norm(dim=1))
    for client in range(len(moved.lengths)):
        torch.testing.assert_close(write_out(one_of(moved, client))[0], dense[client])


@given(movements(), st.floats(-2, 2), st.integers(0, 2**31))
def test_multiples_and_sums_are_those_of_matrices(moved, factor, seed):
    dense, clients = by_hand(moved), len(moved.lengths)
    per_client = torch.randn(clients, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    torch.testing.assert_close(write_out(scale(moved, factor)), dense * factor)
    shaped = per_client.view(-1, *[1] * (dense.ndim - 1))
    torch.testing.assert_close(write_out(scale(moved, per_client)), dense * shaped)
    torch.testing.assert_close(weighted_sum(moved, per_client), (dense * shaped).sum(0))
    torch.testing.assert_close(weighted_sum(dense.clone(), per_client), (dense * shaped).sum(0))
    torch.testing.assert_close(scale(dense.clone(), per_client), dense * shaped)
