import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pfsr.device.weights import item_table
from pfsr.errors import PfsrError
from pfsr.export.tables import stored_table, table_loss, with_table


def items_of(seed: int, size: float = 1.0) -> np.ndarray:
    items = (size * np.random.default_rng(seed).standard_normal((20, 8))).astype(np.float32)
    items[0] = 0
    return items


@given(st.integers(0, 10**6), st.floats(1e-6, 1e3))
def test_int8_is_off_by_half_a_step_of_its_row_at_most(seed, size):
    items = items_of(seed, size)
    read = item_table(stored_table(items, "int8")).in_memory().stored
    step = np.abs(items).max(1, keepdims=True) / 127
    assert np.all(np.abs(read - items) <= 0.5001 * step)
    assert not read[0].any()


def test_bytes_a_number():
    items = items_of(0)
    bits = {
        table: stored_table(items, table)["items"].dtype.itemsize for table in ("float32", "float16", "int8")
    }
    assert bits == {"float32": 4, "float16": 2, "int8": 1}
    assert np.array_equal(item_table(stored_table(items, "float32")).in_memory().stored, items)


def test_float16_is_off_by_a_2048th_at_most():
    items = items_of(1)
    read = item_table(stored_table(items, "float16")).in_memory().stored
    assert read.dtype == np.float32
    assert np.all(np.abs(read - items) <= np.abs(items) / 2048 + 1e-7)


def test_numbers_too_large_for_float16_are_refused():
    with pytest.raises(PfsrError, match="too large for --table float16"):
        stored_table(items_of(0, 1e6), "float16")


def test_loss_is_measured_on_scores(small):
    items = small.weights["items"].numpy()
    losses = {
        table: table_loss(small, with_table(small, stored_table(items, table)))
        for table in ("float32", "float16", "int8")
    }
    assert losses["float32"] == (0, 0)
    assert 0 < losses["float16"].scores < losses["int8"].scores < 0.05
    scrambled = with_table(small, {"items": items[torch.randperm(len(items))]})
    assert table_loss(small, scrambled).scores > 0.5
    assert table_loss(small, scrambled).top10 > 0.2
