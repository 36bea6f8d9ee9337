"""A device model in use. That it computes what PyTorch computes is tested where it is exported."""

import json
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import onnx
import pytest
import torch

from pfsr.device import runtime as runtime_module
from pfsr.device.manifest import file_digest, model_version
from pfsr.device.runtime import Runtime
from pfsr.device.weights import read_weights
from pfsr.errors import PfsrError
from pfsr.export import folder as exporting
from pfsr.export.folder import export_model
from pfsr.model.recommender import Recommender

ITEMS = 30


@pytest.fixture(scope="module")
def model(models):
    return models["first"]


@pytest.fixture(scope="module")
def folder(model, exported, tmp_path_factory):
    """Return the model with an int8 table; its graphs are those of the one with float32."""
    path = tmp_path_factory.mktemp("device") / "model"
    with pytest.MonkeyPatch.context() as patch:
        for name in ("step", "encode"):
            graph = onnx.load(exported["first"] / f"{name}.onnx")
            patch.setattr(exporting, f"{name}_graph", lambda _, graph=graph: graph)
        export_model(model, path, "int8")
    return path


@pytest.fixture(scope="module")
def runtime(folder):
    return Runtime.open(folder)


@pytest.fixture(scope="module")
def offsets(runtime):
    return (0.2 * np.random.default_rng(5).standard_normal(runtime.sites.total)).astype(np.float32)


@pytest.fixture
def copy(folder, tmp_path):
    return shutil.copytree(folder, tmp_path / "copy")


def test_a_person_without_events_gets_the_highest_biases(runtime, model, offsets):
    state, query = runtime.replay([], offsets)
    assert not state.any()
    bias = model.weights["item_bias"][1:].numpy()
    assert runtime.best(query, 5)[0].tolist() == (1 + np.argsort(-bias, kind="stable")[:5]).tolist()
    assert runtime.encode([], offsets).shape == (0, 16)


def test_best_is_a_sort_of_scores(runtime, offsets):
    _, query = runtime.replay([3, 1, 4, 1, 5], offsets)
    scores = runtime.scores(query)
    assert scores.shape == (ITEMS + 1,)
    assert scores[0] == -np.inf
    rows, found = runtime.best(query, 7)
    assert rows.tolist() == np.argsort(-scores, kind="stable")[:7].tolist()
    assert np.array_equal(found, scores[rows])


def test_what_is_excluded_stays_away(runtime, offsets):
    _, query = runtime.replay([3, 1, 4], offsets)
    everything = runtime.best(query, 1000)[0]
    assert sorted(everything) == list(range(1, ITEMS + 1))
    rows, _ = runtime.best(query, 10, [everything[0], everything[2], everything[2]])
    assert rows.tolist() == [everything[1], *everything[3:12]]
    assert len(runtime.best(query, 10, range(1, ITEMS + 1))[0]) == 0
    assert runtime.best(query, 10, range(2, ITEMS + 1))[0].tolist() == [1]


def test_a_replay_in_parts_is_a_replay(runtime, offsets, monkeypatch):
    rows = np.random.default_rng(1).integers(1, ITEMS + 1, 50)
    whole, last = runtime.replay(rows, offsets)
    monkeypatch.setattr(runtime_module, "CHUNK", 7)
    parts, queries = runtime.advance(runtime.start(), rows, offsets)
    np.testing.assert_allclose(parts, whole, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(queries[-1], last, rtol=1e-5, atol=1e-6)


def test_scores_in_blocks_are_scores(runtime, offsets, monkeypatch):
    _, query = runtime.replay([9, 8], offsets)
    whole = runtime.scores(query)
    for block in (1, 7, ITEMS - 1, ITEMS, ITEMS + 1):
        monkeypatch.setattr(runtime_module, "BLOCK", block)
        np.testing.assert_allclose(runtime.scores(query), whole, rtol=1e-5, atol=1e-5)


def test_stepping_leaves_the_state_before_as_it_was(runtime, offsets):
    before, _ = runtime.replay([1, 2, 3], offsets)
    kept = before.copy()
    after = [runtime.step(before, 7, offsets)[0] for _ in range(2)]
    assert np.array_equal(before, kept)
    assert np.array_equal(*after)


def test_threads_share_a_runtime(runtime, offsets):
    histories = np.random.default_rng(2).integers(1, ITEMS + 1, (32, 20))
    expected = [runtime.replay(rows, offsets)[1] for rows in histories]
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda rows: runtime.replay(rows, offsets)[1], histories))
    assert np.array_equal(found, expected)


def test_weights_for_learning_are_what_the_runtime_computes_with(runtime, folder, model, offsets):
    read = read_weights(folder)
    assert all(weight.dtype == np.float32 for weight in read.values())
    again = Recommender(model.config, model.catalog, {n: torch.from_numpy(w) for n, w in read.items()})
    expected = again.score([np.array([2, 7, 1])], torch.from_numpy(offsets)[None])[0, 1:].numpy()
    found = runtime.scores(runtime.replay([2, 7, 1], offsets)[1])[1:]
    assert np.abs(found - expected).max() < 1e-5 * np.abs(expected).max()


@pytest.mark.parametrize("row", [0, -1, ITEMS + 1, 2**40])
def test_unknown_rows_are_refused(runtime, offsets, row):
    with pytest.raises(PfsrError, match="rows go from 1 to 30"):
        runtime.step(runtime.start(), row, offsets)


def test_what_belongs_to_another_model_is_refused(runtime, offsets):
    with pytest.raises(PfsrError, match="offsets: expected"):
        runtime.step(runtime.start(), 1, offsets[1:])
    with pytest.raises(PfsrError, match="state: expected"):
        runtime.step(runtime.start()[1:], 1, offsets)
    with pytest.raises(PfsrError, match="k must be at least 1"):
        runtime.best(np.zeros(16, np.float32), 0)


def test_numbers_that_are_not_finite_go_nowhere(runtime, offsets):
    for broken in (np.nan, np.inf):
        with pytest.raises(PfsrError, match="not finite"):
            runtime.step(runtime.start(), 1, np.full_like(offsets, broken))
        with pytest.raises(PfsrError, match="not finite"):
            runtime.replay([1, 2], np.full_like(offsets, broken))


def rewritten(copy, name, content):
    """Change a file and let the manifest agree, as a broken exporter would."""
    (copy / name).write_bytes(content)
    form = json.loads((copy / "manifest.json").read_text())
    form["files"][name] = file_digest(copy / name)
    (copy / "manifest.json").write_text(json.dumps(form))


def test_graphs_that_are_none_are_refused(copy):
    rewritten(copy, "encode.onnx", b"no graph")
    with pytest.raises(PfsrError, match=r"encode\.onnx") as refused:
        Runtime.open(copy)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("content", [b"", b"\x10\0\0\0\0\0\0\0{}", b"\xff" * 30])
def test_weights_that_are_none_are_refused(copy, content):
    (copy / "weights.safetensors").write_bytes(content)
    with pytest.raises(PfsrError, match=r"weights\.safetensors") as refused:
        read_weights(copy)
    assert "\n" not in str(refused.value)


def safetensors(header):
    """Return a file with such a header and no tensors."""
    return len(header).to_bytes(8, "little") + header


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"no tensors", "no safetensors"),
        (safetensors(b"[" * 100_000), "no safetensors"),
        (
            safetensors(b'{"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, %d]}}' % 10**30),
            "no safeten",
        ),
        (None, "it has other arrays"),
    ],
)
def test_a_memory_that_is_none_is_refused(exported, tmp_path, content, why):
    copy = shutil.copytree(exported["remembering"], tmp_path / "copy")
    content = (copy / "weights.safetensors").read_bytes() if content is None else content
    rewritten(copy, "memory.safetensors", content)
    form = json.loads((copy / "manifest.json").read_text())
    form["model_version"] = model_version(form, form["files"])
    (copy / "manifest.json").write_text(json.dumps(form))
    with pytest.raises(PfsrError, match=rf"memory\.safetensors.*{why}") as refused:
        Runtime.open(copy)
    assert "\n" not in str(refused.value)


def test_without_onnx_runtime_the_error_names_the_extra(folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(PfsrError, match=r"pip install 'pfsr\[device\]'"):
        Runtime.open(folder)


ALONE = """
import sys
import numpy as np
from pfsr.device.runtime import Runtime
runtime = Runtime.open(sys.argv[1])
offsets = np.zeros(runtime.sites.total, np.float32)
state, query = runtime.replay([1, 2, 3], offsets)
state, query = runtime.step(state, 4, offsets)
print(*runtime.best(query, 3)[0])
heavy = {"torch", "polars", "pandas", "rich", "matplotlib", "onnx", "usearch"} & set(sys.modules)
assert not heavy, heavy
"""


def test_the_runtime_alone_imports_nothing_heavy(folder, runtime):
    done = subprocess.run([sys.executable, "-c", ALONE, folder], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    query = runtime.replay([1, 2, 3, 4], np.zeros(runtime.sites.total, np.float32))[1]
    assert done.stdout.split() == [str(row) for row in runtime.best(query, 3)[0]]
