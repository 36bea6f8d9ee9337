"""A bundle comes back exactly or not at all; whatever is wrong is told in one line."""

import datetime as dt
import json
import pickle
import uuid
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from pfsr.config import ModelConfig
from pfsr.data.catalog import Catalog
from pfsr.errors import PfsrError
from pfsr.model import bundle as module
from pfsr.model.bundle import open_bundle, save_bundle, write_tensors
from pfsr.model.encoder import init_weights
from pfsr.model.memory import PairMemory
from pfsr.model.recommender import Recommender

SMALL = ModelConfig(d_model=8, d_state=2, heads=2, blocks=1, view="associative")
ODD_IDS = (
    1, "1", True, 1.0, -0.0, float("inf"), 2**80, b"\x00\xff", uuid.UUID(int=7), (1, ("a", 2.5)), "",
    dt.datetime(2024, 2, 29, 1, 2, 3, 4), dt.date(2024, 2, 29), "line\nbreak \x7f \"q\"", "日本", "\ud800",
)  # fmt: skip


def make(ids: tuple[Any, ...] = ("a", "b", "c"), titles: list[str] | None = None) -> Recommender:
    return Recommender(SMALL, Catalog(ids, titles), init_weights(SMALL, len(ids), seed=3))


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("bundle") / "model.safetensors"
    save_bundle(make(), path)
    return path.read_bytes()


def remembering() -> Recommender:
    """Return a model with a memory of two pairs: 1 -> 3 and 3 -> 2."""
    model, counts = make(), np.array([2, 0.5], np.float32)
    starts, totals = np.array([0, 0, 1, 1, 2]), np.array([0, 3, 0, 0.5], np.float32)
    memory = PairMemory(starts, np.array([3, 2], np.int32), counts, totals, 0.5, 0.25, True)
    return Recommender(model.config, model.catalog, model.weights, memory)


def refused(path: Path, match: str | None = None) -> str:
    """Open ``path``, which must fail with one line that names it."""
    with pytest.raises(PfsrError, match=match) as caught:
        open_bundle(path)
    message = str(caught.value)
    assert "\n" not in message
    assert str(path) in message
    return message


def parts(stored: bytes) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    length = int.from_bytes(stored[:8], "little")
    header = json.loads(stored[8 : 8 + length])["__metadata__"]
    return init_weights(SMALL, 3, seed=3), header


def written(path: Path, tensors: dict[str, torch.Tensor], header: dict[str, str]) -> Path:
    save_file(tensors, path, header)
    return path


def test_a_bundle_comes_back_bit_for_bit(tmp_path):
    model = make(ODD_IDS, [f"title {n} \u2028\n" for n in range(len(ODD_IDS))])
    save_bundle(model, tmp_path / "deep" / "model.safetensors")
    back = open_bundle(tmp_path / "deep" / "model.safetensors")
    assert back.config == model.config
    assert [(type(i), repr(i)) for i in back.catalog.ids] == [(type(i), repr(i)) for i in ODD_IDS]
    assert back.catalog.titles == model.catalog.titles
    assert list(back.weights) == list(model.weights)
    for name, weight in model.weights.items():
        assert back.weights[name].numpy().tobytes() == weight.numpy().tobytes()


@pytest.mark.parametrize(
    "shape",
    [
        {"ffn": 2},
        {"encoder": "sasrec", "positions": 9},
        {"encoder": "gru4rec", "expand": 2},
        {"encoder": "mamba4rec"},
        {"encoder": "lrurec"},
    ],
    ids=lambda shape: shape.get("encoder", "amb and ffn"),
)
def test_every_encoder_comes_back_bit_for_bit(tmp_path, shape):
    config = ModelConfig.model_validate(SMALL.model_dump() | shape)
    model = Recommender(config, Catalog(("a", "b", "c"), None), init_weights(config, 3, seed=3))
    save_bundle(model, tmp_path / "m.safetensors")
    back = open_bundle(tmp_path / "m.safetensors")
    assert back.config == config
    assert list(back.weights) == list(model.weights)
    assert all(torch.equal(back.weights[name], weight) for name, weight in model.weights.items())
    assert back.recommend([["a", "b"], []]).equals(model.recommend([["a", "b"], []]))


def test_no_titles_come_back_as_none(tmp_path):
    save_bundle(make(), tmp_path / "m.safetensors")
    assert open_bundle(str(tmp_path / "m.safetensors")).catalog.titles is None


def test_equal_models_are_equal_files_and_safetensors_reads_them(tmp_path, stored):
    for copy in range(5):
        path = tmp_path / f"{copy}.safetensors"
        save_bundle(make(), path)
        assert path.read_bytes() == stored
    assert {n: w.shape for n, w in load_file(tmp_path / "0.safetensors").items()} == {
        name: weight.shape for name, weight in make().weights.items()
    }


def test_a_bundle_is_readable_by_whom_other_files_are(tmp_path):
    plain, path = tmp_path / "plain", tmp_path / "model.safetensors"
    plain.touch()
    save_bundle(make(), path)
    assert path.stat().st_mode == plain.stat().st_mode


def test_a_missing_bundle_and_a_folder_are_refused(tmp_path):
    refused(tmp_path / "none.safetensors", "no such bundle")
    refused(tmp_path)


def test_every_truncation_is_refused(tmp_path, stored):
    length = 8 + int.from_bytes(stored[:8], "little")
    ends = {0, 1, 7, 8, 9, length - 1, length, length + 1, len(stored) - 1, *range(0, len(stored), 97)}
    for end in sorted(ends):
        path = tmp_path / "cut.safetensors"
        path.write_bytes(stored[:end])
        refused(path)


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_flipped_header_bits_are_refused_or_harmless(tmp_path, stored, data):
    length = 8 + int.from_bytes(stored[:8], "little")
    position = data.draw(st.integers(0, length - 1))
    damaged = bytearray(stored)
    damaged[position] ^= 1 << data.draw(st.integers(0, 7))
    path = tmp_path / "flipped.safetensors"
    path.write_bytes(damaged)
    try:
        back = open_bundle(path)
    except PfsrError as error:
        assert "\n" not in str(error)
    else:  # a bit of an item id or of a number that fits: still a whole model
        assert len(back.recommend([[]], k=3)) == 3


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=st.binary(max_size=200))
def test_random_bytes_are_refused(tmp_path, content):
    path = tmp_path / "noise.safetensors"
    path.write_bytes(content)
    refused(path)


def test_pickles_are_never_loaded(tmp_path):
    class Bomb:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "exploded",))

    (tmp_path / "a.safetensors").write_bytes(pickle.dumps(Bomb()))
    torch.save({"weight": torch.ones(3)}, tmp_path / "b.safetensors")
    refused(tmp_path / "a.safetensors")
    refused(tmp_path / "b.safetensors")
    assert not (tmp_path / "exploded").exists()


def test_foreign_safetensors_are_refused(tmp_path, stored):
    tensors, header = parts(stored)
    save_file(tensors, tmp_path / "bare.safetensors")
    refused(tmp_path / "bare.safetensors", "not a PFSR bundle")
    refused(written(tmp_path / "b.safetensors", tensors, header | {"format": "pt"}), "not a PFSR bundle")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"version": "3"}, "upgrade PFSR"),
        ({"version": "999999"}, "upgrade PFSR"),
        ({"version": "one"}, "not a number"),
        ({"version": ""}, "not a number"),
        ({"version": "²"}, "not a number"),
        ({"version": "9" * 5000}, "not a number"),
        ({"model": "{"}, "header"),
        ({"model": "[]"}, "header"),
        ({"model": '{"d_model": 8, "depth": 3}'}, "header"),
        ({"model": '{"d_model": -8}'}, "header"),
        ({"model": '{"d_model": 16}'}, "do not fit"),
        ({"catalog": "nonsense"}, "header"),
        ({"catalog": "null"}, "header"),
        ({"catalog": '{"ids": ["a", "a", "b"], "titles": null}'}, "twice"),
        ({"catalog": '{"ids": ["a"], "titles": null}'}, "do not fit"),
        ({"catalog": '{"ids": ["a", "b", "c"], "titles": ["one"]}'}, "header"),
        ({"catalog": '{"ids": ["a", {"bytes": "zz"}, "c"], "titles": null}'}, "header"),
        ({"catalog": "[" * 100_000}, "header"),
    ],
)
def test_a_header_that_does_not_fit_is_refused(tmp_path, stored, change, said):
    tensors, header = parts(stored)
    message = refused(written(tmp_path / "b.safetensors", tensors, header | change), said)
    assert len(message) < 500


@pytest.mark.parametrize("missing", ["version", "model", "catalog", "format"])
def test_a_header_with_a_missing_part_is_refused(tmp_path, stored, missing):
    tensors, header = parts(stored)
    del header[missing]
    refused(written(tmp_path / "b.safetensors", tensors, header))


def nan(weight: torch.Tensor) -> torch.Tensor:
    weight.view(-1)[-1] = torch.nan
    return weight


@pytest.mark.parametrize(
    "damage",
    [
        lambda w: w | {"scale": nan(w["scale"].clone())},
        lambda w: w | {"scale": w["scale"] * torch.inf},
        lambda w: w | {"scale": w["scale"].double()},
        lambda w: w | {"scale": w["scale"].half()},
        lambda w: w | {"scale": torch.ones(9)},
        lambda w: w | {"extra": torch.ones(1)},
        lambda w: {name: weight for name, weight in w.items() if name != "scale"},
        lambda w: {},
    ],
    ids=["nan", "inf", "float64", "float16", "shape", "extra", "missing", "none"],
)
def test_tensors_that_are_not_the_models_are_refused(tmp_path, stored, damage):
    tensors, header = parts(stored)
    refused(written(tmp_path / "b.safetensors", damage(tensors), header), "damaged")


def test_a_failing_write_leaves_the_old_bundle(tmp_path, stored, monkeypatch):
    path = tmp_path / "model.safetensors"
    path.write_bytes(stored)

    def full_disk(tensors: Any, place: Path, header: Any) -> None:
        Path(place).write_bytes(stored[: len(stored) // 2])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module, "save_file", full_disk)
    with pytest.raises(PfsrError, match="No space left on device") as caught:
        save_bundle(make(("x", "y")), path)
    assert str(path) in str(caught.value)
    assert path.read_bytes() == stored
    assert [other.name for other in tmp_path.iterdir()] == ["model.safetensors"]


def test_whoever_reads_the_old_bundle_keeps_it(tmp_path, stored):
    path = tmp_path / "model.safetensors"
    path.write_bytes(stored)
    with path.open("rb", buffering=0) as reader:
        start = reader.read(10)
        save_bundle(make(("x", "y")), path)
        assert start + reader.read() == stored
    assert open_bundle(path).catalog.ids == ("x", "y")


def test_a_place_that_cannot_be_written_is_told(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(PfsrError, match="cannot be written") as caught:
        write_tensors({"a": torch.ones(1)}, tmp_path / "file" / "b.safetensors", {})
    assert "\n" not in str(caught.value)


def test_a_memory_of_pairs_comes_back_and_only_then_the_version_is_new(tmp_path, stored):
    model = remembering()
    save_bundle(model, tmp_path / "b.safetensors")
    again = open_bundle(tmp_path / "b.safetensors")
    assert again.memory.header() == model.memory.header()
    histories = [np.array([1]), np.array([2, 3]), np.array([], int)]
    assert torch.equal(again.score(histories), model.score(histories))
    assert not torch.equal(again.score(histories), make().score(histories))
    assert b'"version":"2"' in (tmp_path / "b.safetensors").read_bytes()
    assert b'"version":"1"' in stored


@pytest.mark.parametrize(
    ("change", "missing", "said"),
    [
        ({"memory": "{"}, (), "memory of pairs"),
        ({"memory": '{"weight": 1, "share": 2, "repeats": true}'}, (), "memory of pairs"),
        ({"memory": '{"weight": 1e38, "share": 0, "repeats": true}'}, (), "memory of pairs"),
        ({}, ("memory.counts",), "other arrays"),
    ],
)
def test_a_damaged_memory_is_refused(tmp_path, change, missing, said):
    path = tmp_path / "b.safetensors"
    save_bundle(remembering(), path)
    tensors, header = module.read_tensors(path)
    kept = {name: tensor for name, tensor in tensors.items() if name not in missing}
    refused(written(path, kept, header | change), said)


def test_a_memory_of_numbers_that_numpy_lacks_is_refused(tmp_path):
    path = tmp_path / "b.safetensors"
    save_bundle(remembering(), path)
    tensors, header = module.read_tensors(path)
    tensors["memory.counts"] = tensors["memory.counts"].bfloat16()
    refused(written(path, tensors, header), "memory of pairs")
