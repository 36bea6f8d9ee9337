"""Few bits per number: the formulas of DRIVE and EDEN, no bias, the errors that theory gives."""

import math
from collections.abc import Callable
from functools import reduce

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from pfsr.federated.compression import BLOCK, decode, encode, level_width, pack, padded, random_signs, unpack

Map = Callable[[np.ndarray], np.ndarray]

BITS = [1, 2, 4, 8]
ERRORS = {1: math.pi / 2 - 1, 2: 0.135, 4: 0.0117, 8: 8.5e-5}


def normal(numbers: int, seed: int = 0) -> Tensor:
    return torch.randn(numbers, generator=torch.Generator().manual_seed(seed))


def sent(x_N: Tensor, bits: int, seed: int = 0) -> Tensor:
    signs = random_signs(seed)
    return decode(encode(x_N, signs, bits), signs, bits)


def error(decoded: Tensor, x: Tensor) -> float:
    return float((decoded - x).square().sum() / x.square().sum())


def rotations(signs_2C: Tensor) -> tuple[Map, Map]:
    """Return the rotation of one block and its inverse, in float64, from the matrices of the formula."""
    hadamard = reduce(np.kron, [np.array([[1, 1], [1, -1]], dtype=np.int8)] * 12)
    odd = 2 * np.arange(16) + 1
    sine = np.sqrt(2 / 16) * np.sin(np.pi * np.outer(odd, odd) / 64)
    first, second = signs_2C.double().numpy()

    def there(x: np.ndarray) -> np.ndarray:
        return hadamard @ (second * ((first * x).reshape(-1, 16) @ sine.T).ravel()) / 64

    def back(y: np.ndarray) -> np.ndarray:
        return first * ((second * (hadamard.T @ y / 64)).reshape(-1, 16) @ sine).ravel()

    return there, back


def test_one_bit_is_drive():
    x, signs = normal(2 * BLOCK), random_signs(5)
    coded = encode(x, signs, 1)
    decoded, (there, back) = decode(coded, signs, 1), rotations(signs)
    for block in range(2):
        rotated = there(x.double().numpy()[block * BLOCK : (block + 1) * BLOCK])
        codes = coded.codes_N.view(BLOCK, 2)[:, block].numpy()
        sure = np.abs(rotated) > 1e-5
        assert np.array_equal(codes[sure] == 1, rotated[sure] > 0)
        scale = rotated @ rotated / np.abs(rotated).sum()
        assert float(coded.steps_K[block]) / 2 == pytest.approx(scale, rel=1e-5)
        expected = back(scale * (2.0 * codes - 1))
        np.testing.assert_allclose(decoded.view(2, BLOCK)[block].numpy(), expected, atol=1e-5)


def test_more_bits_are_levels_of_the_normalized_rotation_with_the_scale_of_eden():
    x, signs = normal(BLOCK), random_signs(6)
    rotated = rotations(signs)[0](x.double().numpy())
    for bits in (2, 4, 8):
        coded, half = encode(x, signs, bits), 2 ** (bits - 1)
        exact = rotated * 64 / np.linalg.norm(rotated) / level_width(bits)
        levels = np.floor(exact).clip(-half, half - 1)
        sure = np.abs(exact - np.round(exact)) > 1e-3
        assert sure.mean() > 0.99
        assert np.array_equal(coded.codes_N.numpy()[sure], (levels + half)[sure])
        middle = coded.codes_N.double().numpy() - half + 0.5
        assert float(coded.steps_K) == pytest.approx(rotated @ rotated / (rotated @ middle), rel=1e-5)


@pytest.mark.parametrize("bits", [2, 4, 8])
def test_levels_are_those_of_the_best_uniform_quantizer_of_normal_numbers(bits):
    best = {2: 0.9957, 4: 0.3352, 8: 0.0308}  # Max, "Quantizing for minimum distortion" (1960)
    assert level_width(bits) == pytest.approx(best[bits], rel=0.01)


@pytest.mark.parametrize("bits", BITS)
def test_the_error_is_what_theory_gives(bits):
    x = normal(16 * BLOCK)
    assert error(sent(x, bits), x) == pytest.approx(ERRORS[bits], rel=0.05)


@pytest.mark.parametrize("bits", BITS)
@pytest.mark.parametrize("kind", ["dense", "one item", "lone number"])
def test_the_mean_over_rotations_is_the_vector(kind, bits):
    x = normal(BLOCK) * (1 if kind == "dense" else 0.01)
    if kind == "one item":
        x[640:704] = normal(64, seed=1)
    if kind == "lone number":
        x[7] = 5
    decoded = torch.stack([sent(x, bits, seed) for seed in range(300)])
    variance = (decoded - x).square().sum(1).mean()
    # Without bias the mean of n draws is off by variance / n, give or take a fifth.
    assert float((decoded.mean(0) - x).square().sum()) < 1.5 * float(variance) / 300


@pytest.mark.parametrize("bits", BITS)
def test_along_the_vector_itself_every_draw_is_exact(bits):
    x = normal(3 * BLOCK).view(3, BLOCK)
    decoded = sent(x.flatten(), bits, seed=3).view(3, BLOCK)
    torch.testing.assert_close((decoded * x).sum(1), x.square().sum(1), rtol=1e-4, atol=0)


@pytest.mark.parametrize("bits", [1, 2])
def test_errors_of_clients_who_agree_average_out_because_each_has_a_rotation_of_its_own(bits):
    x = normal(BLOCK)
    own = torch.stack([sent(x, bits, seed) for seed in range(64)]).mean(0)
    common = torch.stack([sent(x, bits, 0) for _ in range(64)]).mean(0)
    assert error(own, x) == pytest.approx(ERRORS[bits] / 64, rel=0.2)
    assert error(common, x) == pytest.approx(ERRORS[bits], rel=0.2)


@pytest.mark.parametrize("bits", BITS)
def test_zeros_decode_to_zeros_and_a_block_of_them_leaves_its_neighbours_alone(bits):
    x = torch.cat([normal(BLOCK), torch.zeros(BLOCK)])
    decoded = sent(x, bits)
    assert float(decoded[BLOCK:].abs().max()) == 0
    assert error(decoded[:BLOCK], x[:BLOCK]) == pytest.approx(ERRORS[bits], rel=0.1)
    assert float(sent(torch.full((BLOCK,), 1e-35), bits).abs().max()) <= 1e-30


@pytest.mark.parametrize("bits", BITS)
@pytest.mark.parametrize("power", [-50, 50])
def test_vectors_of_any_size_decode_alike(bits, power):
    x, factor = normal(2 * BLOCK), 2.0**power
    assert torch.equal(sent(x * factor, bits), sent(x, bits) * factor)


@pytest.mark.parametrize("bits", BITS)
@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf, 3e38])
def test_numbers_that_are_not_finite_stay_visible(bits, bad):
    x = normal(2 * BLOCK)
    x[9] = bad
    decoded = sent(x, bits)
    assert not bool(decoded[:BLOCK].isfinite().any())
    assert bool(decoded[BLOCK:].isfinite().all())


@settings(deadline=None)
@given(bits=st.sampled_from(BITS), seed=st.integers(0, 1000), rows=st.integers(1, 40))
def test_packed_codes_fill_the_bytes_and_come_back(bits, seed, rows):
    random = torch.Generator().manual_seed(seed)
    codes = torch.randint(0, 2**bits, (8 * rows,), generator=random, dtype=torch.uint8)
    packed = pack(codes, bits)
    assert packed.dtype == torch.uint8
    assert len(packed) == rows * bits
    assert torch.equal(unpack(packed, bits), codes)


def test_the_first_code_is_in_the_lowest_bits():
    assert pack(torch.tensor([1, 0, 0, 0, 0, 0, 1, 1], dtype=torch.uint8), 1).tolist() == [0b11000001]
    assert pack(torch.tensor([3, 0, 2, 1], dtype=torch.uint8), 2).tolist() == [0b01100011]
    assert pack(torch.tensor([1, 15], dtype=torch.uint8), 4).tolist() == [0xF1]


def test_vectors_are_padded_to_whole_blocks():
    assert [padded(n) for n in (1, BLOCK, BLOCK + 1, 255_097)] == [BLOCK, BLOCK, 2 * BLOCK, 63 * BLOCK]


def test_signs_follow_from_the_seed_and_are_fair():
    one, same, other = random_signs(1), random_signs(1), random_signs(2)
    assert torch.equal(one, same)
    assert set(one.unique().tolist()) == {-1.0, 1.0}
    for pair in ((one[0], one[1]), (one[0], other[0]), (one[0], torch.ones(BLOCK))):
        assert abs(float((pair[0] * pair[1]).mean())) < 5 / BLOCK**0.5
