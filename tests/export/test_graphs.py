"""ONNX Runtime computes what PyTorch computes, for every shape of model that a device can run."""

import numpy as np
import onnx
import pytest
import torch

from pfsr.device.runtime import Runtime
from pfsr.errors import PfsrError
from pfsr.export.folder import export_model
from pfsr.export.graphs import score_graph

KINDS = {
    "two blocks, flipped": {"blocks": 2, "view": "associative"},
    "one block, flipped, ffn, no final norm": {"view": "associative", "ffn": 2, "final_norm": False},
    "two blocks, head": {"blocks": 2, "expand": 2, "sites": "head"},
    "mamba4rec, no final norm": {"encoder": "mamba4rec", "ffn": 1, "final_norm": False},
}


def offsets_of(sites, seed=0):
    return (0.3 * np.random.default_rng(seed).standard_normal(sites.total)).astype(np.float32)


def relative(found, expected):
    return np.abs(found - expected).max() / np.abs(expected).max()


@pytest.mark.parametrize("kind", KINDS)
def test_onnx_runtime_computes_what_pytorch_computes(kind, model_of, tmp_path):
    # One test a kind: tracing takes seconds.
    model = model_of(**KINDS[kind])
    export_model(model, tmp_path / "model")
    runtime = Runtime.open(tmp_path / "model")
    for length in (1, 7, 50, 400):
        check_history(model, runtime, np.random.default_rng(length).integers(1, 31, length))
    check_steps(model, runtime, np.random.default_rng(3).integers(1, 31, 60))
    check_offsets_count(runtime)


def check_history(model, runtime, rows):
    """Compare the queries of a whole history, the last one and one in its middle."""
    offsets = offsets_of(model.sites)
    queries = runtime.encode(rows, offsets)
    assert queries.shape == (len(rows), model.config.d_model)
    for length in (len(rows), (len(rows) + 1) // 2):
        expected = model.score([rows[:length]], torch.from_numpy(offsets)[None])[0].numpy()
        assert relative(runtime.scores(queries[length - 1])[1:], expected[1:]) < 1e-5


def check_steps(model, runtime, rows):
    """Compare events one by one with PyTorch's steps, and with a replay."""
    offsets, state, live = offsets_of(model.sites), runtime.start(), model.start()
    for row in rows:
        state, query = runtime.step(state, int(row), offsets)
        live, expected = model.step(live, model.catalog.item_id(int(row)), torch.from_numpy(offsets)[None])
        assert relative(runtime.scores(query)[1:], expected.numpy()[1:]) < 1e-5
    replayed, last = runtime.replay(rows, offsets)
    assert relative(replayed, state) < 1e-5
    assert relative(last, query) < 1e-5


def check_offsets_count(runtime):
    offsets = offsets_of(runtime.sites)
    calm, moved = (runtime.replay([1, 2, 3], size * offsets)[1] for size in (0, 1))
    assert relative(moved, calm) > 1e-2


@pytest.mark.parametrize("encoder", ["sasrec", "gru4rec", "lrurec"])
def test_an_encoder_without_steps_is_refused(model_of, encoder, tmp_path):
    with pytest.raises(PfsrError, match=f"encoder {encoder} has no state of constant size"):
        export_model(model_of(encoder=encoder), tmp_path / "model")
    assert not list(tmp_path.iterdir())


def test_personal_weights_are_made_once_a_history(exported):
    step, encode = (onnx.load(exported / f"{name}.onnx").graph for name in ("step", "encode"))
    (scan,) = (node for node in encode.node if node.op_type == "Scan")
    (body,) = (attribute.g for attribute in scan.attribute if attribute.name == "body")
    assert "offsets" not in {name for node in body.node for name in node.input}
    assert len(body.node) + len(encode.node) == len(step.node) + 1
    assert len(encode.node) > 5


def test_graphs_tell_nothing_about_the_machine_that_wrote_them(exported):
    for name in ("step.onnx", "encode.onnx"):
        content = (exported / name).read_bytes()
        assert b".py" not in content
        assert b"/" not in b"".join(node.name.encode() for node in onnx.load(exported / name).graph.node)


def test_score_is_an_inner_product_and_a_bias_but_for_padding(tmp_path):
    from onnx.reference import ReferenceEvaluator

    random = np.random.default_rng(0)
    query, items, bias = (random.standard_normal(shape).astype(np.float32) for shape in ((3, 4), (6, 4), 6))
    (found,) = ReferenceEvaluator(score_graph()).run(None, {"query": query, "items": items, "bias": bias})
    assert np.all(found[:, 0] == -np.inf)
    np.testing.assert_allclose(found[:, 1:], (query @ items.T + bias)[:, 1:], rtol=1e-6)
