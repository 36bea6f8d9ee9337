import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from pfsr.errors import PfsrError
from pfsr.federated.download import as_read, download_bytes, travelling

TABLES = arrays(
    np.float32,
    st.tuples(st.integers(1, 6), st.integers(1, 9)),
    elements=st.floats(-1e6, 1e6, width=32).filter(lambda x: x == 0 or abs(x) > 1e-20),
)


@given(TABLES)
def test_rounding_what_is_rounded_changes_nothing(table):
    once = as_read({"items": torch.from_numpy(table)}, 8)
    again = as_read(once, 8)
    assert torch.equal(once["items"], again["items"])


@given(TABLES)
def test_eight_bits_miss_by_half_a_step_at_most(table):
    read = as_read({"items": torch.from_numpy(table)}, 8)["items"].numpy()
    step = np.abs(table).max(1, keepdims=True) / 127
    # The factor is within 2^-9 of the step, which moves the largest number, 127 steps away, by a quarter.
    assert (np.abs(read - table) <= 0.76 * step).all()
    assert (read[table == 0] == 0).all()
    assert (read * table >= 0).all()


def test_a_row_in_eight_bits_by_hand():
    sent = travelling({"items": torch.tensor([[127.0, -63.6, 0.4, 0.6], [0, 0, 0, 0]])}, 8)["items"]
    assert sent.numbers.tolist() == [[127, -64, 0, 1], [0, 0, 0, 0]]
    assert sent.factors.tolist() == [1, 0]
    assert sent.read().tolist() == [[127, -64, 0, 1], [0, 0, 0, 0]]


@pytest.mark.parametrize(("bits", "table", "scale"), [(32, 400, 20), (16, 200, 10), (8, 100 + 2 * 20, 10)])
def test_what_travels_is_counted_and_has_its_types(bits, table, scale):
    weights = {"items": torch.ones(20, 5), "scale": torch.ones(5)}
    sent = travelling(weights, bits)
    sizes = {name: sum(t.nbytes for t in one if t is not None) for name, one in sent.items()}
    assert sizes == {"items": table, "scale": scale}
    assert download_bytes(weights, bits) == table + scale
    kinds = {32: torch.float32, 16: torch.float16, 8: torch.int8}
    assert sent["items"].numbers.dtype == kinds[bits]
    assert sent["scale"].numbers.dtype == kinds[max(bits, 16)]


def test_single_precision_travels_as_it_is():
    weights = {"items": torch.randn(4, 3)}
    assert as_read(weights, 32) is weights


@pytest.mark.parametrize(("bits", "name"), [(16, "items"), (16, "scale"), (8, "scale")])
def test_a_number_too_large_for_half_precision_is_refused(bits, name):
    weights = {"items": torch.ones(4, 3), "scale": torch.ones(3)}
    weights[name].view(-1)[1] = -65520
    with pytest.raises(PfsrError, match=rf"weights of {name} exceed 65504.*download_bits"):
        as_read(weights, bits)


def test_a_large_row_is_no_trouble_in_eight_bits():
    weights = {"items": torch.tensor([[3e38, -3e38, 1e38]])}
    assert torch.isfinite(as_read(weights, 8)["items"]).all()
