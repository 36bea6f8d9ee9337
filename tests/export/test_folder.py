import json
import sys

import numpy as np
import pytest

from pfsr.config import Config
from pfsr.device.manifest import read_manifest
from pfsr.device.runtime import Runtime
from pfsr.device.weights import read_weights
from pfsr.errors import PfsrError
from pfsr.export import folder as exporting
from pfsr.export.folder import export_model
from pfsr.model.adaptation import Adaptation
from pfsr.model.memory import PairMemory
from pfsr.model.recommender import Recommender


@pytest.fixture
def traced(monkeypatch, exported):
    """Spare the tracing, which takes seconds: the graphs are those of ``exported``."""
    import onnx

    graphs = {name: onnx.load(exported / f"{name}.onnx") for name in ("step", "encode")}
    monkeypatch.setattr(exporting, "step_graph", lambda model: graphs["step"])
    monkeypatch.setattr(exporting, "encode_graph", lambda step: graphs["encode"])


def test_the_folder_holds_the_whole_model(small, exported):
    manifest = read_manifest(exported)
    assert {path.name for path in exported.iterdir()} == {"manifest.json", *manifest.files}
    assert (manifest.items, manifest.table, manifest.model) == (30, "float32", small.config)
    weights = read_weights(exported)
    assert weights.keys() == small.weights.keys()
    assert all(np.array_equal(weights[name], small.weights[name].numpy()) for name in weights)
    assert Runtime.open(exported).catalog == small.catalog


def test_equal_models_have_equal_versions(small, exported, tmp_path, traced):
    again = export_model(small, tmp_path / "again").manifest
    assert again.model_version == read_manifest(exported).model_version
    assert (tmp_path / "again" / "weights.safetensors").read_bytes() == (
        exported / "weights.safetensors"
    ).read_bytes()


@pytest.mark.parametrize("table", ["float16", "int8"])
def test_other_tables_are_smaller_and_other_versions(small, exported, tmp_path, traced, table):
    written = export_model(small, tmp_path / "less", table)
    assert written.manifest.model_version != read_manifest(exported).model_version
    assert 0 < written.loss.scores < 0.05
    assert written.size < sum(path.stat().st_size for path in exported.iterdir())
    runtime, offsets = Runtime.open(tmp_path / "less"), np.zeros(small.sites.total, np.float32)
    expected = small.score([np.array([1, 2, 3])])[0].numpy()[1:]
    found = runtime.scores(runtime.replay([1, 2, 3], offsets)[1])[1:]
    assert 0 < np.abs(found - expected).max() < 0.05 * np.abs(expected).max()


def test_how_to_adapt_is_part_of_the_model(small, exported, tmp_path, traced):
    spread = np.linspace(0.01, 0.2, len(small.sites.names)).tolist()
    adaptation = Adaptation.of(Config(model=small.config, seed=3), 5, spread)
    written = export_model(small, tmp_path / "model", adaptation=adaptation)
    assert read_manifest(tmp_path / "model").adaptation == adaptation
    assert read_manifest(exported).adaptation is None
    assert written.manifest.model_version != read_manifest(exported).model_version


def test_an_existing_folder_is_left_alone(small, tmp_path):
    (tmp_path / "kept").write_text("mine")
    with pytest.raises(PfsrError, match="exists already"):
        export_model(small, tmp_path / "kept")
    assert (tmp_path / "kept").read_text() == "mine"


def test_a_failed_export_leaves_nothing(small, tmp_path, traced, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(exporting, "_write_manifest", full)
    with pytest.raises(PfsrError, match="model: cannot be written: No space left on device"):
        export_model(small, tmp_path / "model")
    assert not list(tmp_path.iterdir())


def test_what_computes_something_else_is_not_written(small, model_of, tmp_path, traced):
    other = model_of()
    other.weights["blocks.0.out"].mul_(1.01)
    with pytest.raises(PfsrError, match="scores differ from the bundle's by"):
        export_model(other, tmp_path / "model")
    assert not list(tmp_path.iterdir())


def test_without_the_extra_the_error_names_it(small, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    with pytest.raises(PfsrError, match=r"pip install 'pfsr\[export\]'"):
        export_model(small, tmp_path / "model")


def test_large_catalogues_get_an_index(small, tmp_path, traced, monkeypatch):
    monkeypatch.setattr(exporting, "EXACT_LIMIT", 30)
    written = export_model(small, tmp_path / "model")
    assert written.manifest.index
    assert written.manifest.index.recall >= 0.97
    runtime = Runtime.open(tmp_path / "model")
    _, query = runtime.replay([5, 6], np.zeros(small.sites.total, np.float32))
    rows, scores = runtime.best(query, 5, [5, 6])
    exact = runtime.scores(query)
    exact[[5, 6]] = -np.inf
    assert set(rows) == set(np.argsort(-exact)[:5])
    np.testing.assert_allclose(scores, exact[rows], rtol=1e-5)
    assert np.all(np.diff(scores) <= 0)


def test_a_memory_of_pairs_goes_along_and_every_item_is_ranked(small, tmp_path, traced, monkeypatch):
    starts, totals = np.repeat([0, 1, 3], [6, 1, 25]), np.zeros(31, np.float32)
    totals[5:7] = 9
    pairs = PairMemory(starts, np.array([9, 2, 9], np.int32), np.array([8, 3, 1], np.float32), totals, 1, 0.5)
    model = Recommender(small.config, small.catalog, small.weights, pairs)
    monkeypatch.setattr(exporting, "EXACT_LIMIT", 30)
    written = export_model(model, tmp_path / "model", "int8")
    assert written.manifest.index is None
    assert (written.manifest.memory, written.manifest.format_version) == (pairs.header(), 2)
    runtime, history = Runtime.open(tmp_path / "model"), [1, 5, 6]
    _, query = runtime.replay(history, np.zeros(small.sites.total, np.float32))
    rows, scores = runtime.best(query, 30, history, history)
    expected = pairs.add_to(runtime.scores(query), np.array(history), np.array(history))
    np.testing.assert_allclose(scores, expected[rows], rtol=1e-5)
    assert rows.tolist() != runtime.best(query, 30, history)[0].tolist()
    assert np.abs(expected[1:] - model.score([np.array(history)])[0, 1:].numpy()).max() < 0.1


def test_the_manifest_is_readable(exported, small):
    form = json.loads((exported / "manifest.json").read_text())
    assert form["format"] == "pfsr-device"
    assert form["sites"] == [list(site) for site in zip(small.sites.names, small.sites.sizes, strict=True)]
    assert sum(np.prod(shape) for _, shape in form["states"]) == Runtime.open(exported).state_size


def test_a_trace_left_by_a_killed_export_does_not_matter(small, tmp_path, traced):
    (tmp_path / ".model.part").mkdir()
    (tmp_path / ".model.part" / "manifest.json").write_text("half")
    export_model(small, tmp_path / "model")
    assert [path.name for path in tmp_path.iterdir()] == ["model"]
