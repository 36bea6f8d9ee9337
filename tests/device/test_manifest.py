"""A device model is whole, or refused with one line."""

import hashlib
import json

import pytest

from pfsr.config import ModelConfig
from pfsr.device.manifest import FILES, Manifest, model_version, read_manifest, site_layout
from pfsr.errors import PfsrError


@pytest.fixture
def model(tmp_path):
    """Return a folder that a manifest fits; what lies in its files is of no matter here."""
    for name in FILES:
        (tmp_path / name).write_text(f"content of {name}")
    digests = {name: hashlib.sha256(f"content of {name}".encode()).hexdigest() for name in FILES}
    facts = {"items": 3, "table": "int8", "model": ModelConfig().model_dump(mode="json")}
    facts |= {
        "sites": [["scale", 4], ["user", 2]],
        "states": [["blocks.0.conv", [3, 5]], ["blocks.0.h", [2]]],
    }
    form = {"format": "pfsr-device", "format_version": 1, "model_version": model_version(facts, digests)}
    write(tmp_path, form | facts | {"files": digests, "index": None})
    return tmp_path


def write(folder, form):
    (folder / "manifest.json").write_text(json.dumps(form))


def change(folder, **changes):
    write(folder, json.loads((folder / "manifest.json").read_text()) | changes)


def refusal(folder):
    with pytest.raises(PfsrError) as refused:
        read_manifest(folder)
    told = str(refused.value)
    assert str(folder) in told
    assert "\n" not in told
    return told


def test_a_whole_model_is_read(model):
    manifest = read_manifest(model)
    assert isinstance(manifest, Manifest)
    assert manifest.state_size == 3 * 5 + 2
    assert (site_layout(manifest).names, site_layout(manifest).total) == (("scale", "user"), 6)


def test_no_model(tmp_path):
    assert "pfsr export" in refusal(tmp_path)
    assert "pfsr export" in refusal(tmp_path / "nowhere")


@pytest.mark.parametrize("name", sorted(FILES))
def test_a_changed_file(model, name):
    (model / name).write_text("other")
    assert f"{name} is not the file that was exported" in refusal(model)


@pytest.mark.parametrize("name", sorted(FILES))
def test_a_missing_file(model, name):
    (model / name).unlink()
    assert f"{name}: No such file" in refusal(model)


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"format": "zip"}', "[" * 100_000, "\x00"])
def test_a_manifest_that_is_none(model, text):
    (model / "manifest.json").write_text(text)
    assert "manifest.json" in refusal(model)


def test_a_manifest_that_is_no_text(model):
    (model / "manifest.json").write_bytes(b"\xff\xfe\x00")
    assert "manifest.json is not JSON" in refusal(model)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"format_version": 3}, "device model format 3, this PFSR reads up to 2; upgrade PFSR"),
        ({"items": 4}, "does not belong"),
        ({"items": -1}, "items"),
        ({"table": "int4"}, "table"),
        ({"table": "float16"}, "does not belong"),
        ({"states": [["blocks.0.h", [2]]]}, "does not belong"),
        ({"sites": [["user", 2], ["scale", 4]]}, "does not belong"),
        ({"sites": []}, "does not belong"),
        ({"model_version": "0" * 16}, "does not belong"),
        ({"model": {"d_model": "wide"}}, "model.d_model"),
        ({"model": ModelConfig(horizon=7).model_dump(mode="json")}, "does not belong"),
        ({"files": {}}, "names other files"),
        ({"files": {"../../etc/passwd": "0"}}, "names other files"),
        ({"files": 3}, "files"),
        ({"surprise": 1}, "surprise"),
    ],
)
def test_a_changed_manifest(model, changes, told):
    change(model, **changes)
    assert told in refusal(model)


def test_an_index_needs_its_file(model):
    change(model, index={"expansion": 128, "recall": 0.98})
    assert "names other files" in refusal(model)


def test_a_memory_needs_its_file(model):
    change(model, memory={"weight": 0.5, "share": 0.1, "repeats": False})
    assert "names other files" in refusal(model)


def test_an_index_knows_no_memory(model):
    memory = {"weight": 0.5, "share": 0.1, "repeats": False}
    change(model, memory=memory, index={"expansion": 128, "recall": 0.98})
    assert "an index does not know" in refusal(model)


def test_versions_tell_apart_what_computes_something_else():
    digests = {name: name for name in FILES}
    facts = {"items": 3, "table": "int8", "model": {}, "sites": [], "states": []}
    version = model_version(facts, digests)
    assert len(version) == 16
    assert model_version(facts, digests | {"step.onnx": "of another exporter"}) == version
    others = [
        facts | {"table": "float32"},
        facts | {"model": {"horizon": 2}},
        facts | {"memory": {"share": 0.1}},
    ]
    assert version not in {model_version(other, digests) for other in others}
    for name in ("weights.safetensors", "catalog.json"):
        assert model_version(facts, digests | {name: "other"}) != version
    remembering = model_version(facts, digests | {"memory.safetensors": "one"})
    assert len({version, remembering, model_version(facts, digests | {"memory.safetensors": "other"})}) == 3
