"""ONNX graphs of a model: one event, a whole history, the scores.

Only ``step`` is traced, from ``encode_step``; a person's weights are made inside the graph, from the shared
ones and the offsets. ``encode`` is an ONNX Scan over that very graph, with everything that does not depend on
the event or the state (a person's weights) moved out of its loop: L is free, and the two cannot disagree.

Shapes: L events, I items, d = d_model, S private offsets, Z floats of state.
"""

import logging
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from pfsr.errors import PfsrError
from pfsr.export.states import StateLayout
from pfsr.model.encoder import ITEM_BIAS, ITEMS, encode_step
from pfsr.model.recommender import Recommender
from pfsr.model.response import respond

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto, ValueInfoProto

OPSET, IR_VERSION = 20, 10
"""What ONNX Runtime 1.20 reads."""

_SCORE = f"""
<ir_version: {IR_VERSION}, opset_import: ["": {OPSET}]>
score (float[B, d] query, float[I, d] items, float[I] bias) => (float[B, I] scores) {{
    padding = Constant <value = float[1] {{-inf}}> ()
    first = Constant <value = int64[1] {{1}}> ()
    last = Constant <value = int64[1] {{{2**63 - 1}}}> ()
    real = Slice (bias, first, last)
    masked = Concat <axis = 0> (padding, real)
    scores = Gemm <transB = 1> (query, items, masked)
}}
"""


class _Step(nn.Module):
    """``encode_step`` of a model, from flat tensors to flat tensors."""

    def __init__(self, model: Recommender) -> None:
        super().__init__()
        self._model, self._layout = model, StateLayout.of(model.config)
        self._shared = {name for name in model.weights if name not in (ITEMS, ITEM_BIAS)}
        for name in self._shared:
            self.register_buffer(_buffer(name), model.weights[name])

    def forward(self, x_1d: Tensor, offsets_1S: Tensor, state_1Z: Tensor) -> tuple[Tensor, Tensor]:
        shared = {name: self.get_buffer(_buffer(name)) for name in self._shared}
        weights = respond(shared, self._model.sites.split(offsets_1S))
        states, query_11d = encode_step(
            weights, self._layout.split(state_1Z), x_1d[:, None], self._model.config
        )
        return query_11d[:, 0], self._layout.join(states)


def step_graph(model: Recommender) -> "ModelProto":
    """Return the graph that takes in one event: x, offsets, state -> query, new_state.

    Raises:
        PfsrError: the encoder has no state of constant size, or onnx or onnxscript is not installed.
    """
    step, size = _Step(model).eval(), StateLayout.of(model.config).total
    _check_installed()
    example = (torch.zeros(1, model.config.d_model), torch.zeros(1, model.sites.total), torch.zeros(1, size))
    with torch.no_grad(), _quiet():
        program = torch.onnx.export(
            step,
            example,
            dynamo=True,
            opset_version=OPSET,
            input_names=["x", "offsets", "state"],
            output_names=["query", "new_state"],
            verbose=False,
        )
    assert program is not None
    return _bare(program.model_proto)


def encode_graph(step: "ModelProto") -> "ModelProto":
    """Return the graph that takes in L events, one by one: x, offsets, state -> queries, new_state.

    Args:
        step: what :func:`step_graph` returned.
    """
    from onnx import helper

    once, each = _split(step.graph.node, {"x", "state"})
    shapes = {part.name: _shape(part) for part in (*step.graph.input, *step.graph.output)}
    # A name must not occur both inside and outside the loop.
    inside = {"x": "event", "state": "before", "new_state": "after"}
    body = helper.make_graph(
        [_renamed(node, inside) for node in each],
        "step",
        [_value("before", shapes["state"]), _value("event", shapes["x"])],
        [_value("after", shapes["new_state"]), _value("query", shapes["query"])],
    )
    axes = {"num_scan_inputs": 1, "scan_input_axes": [1], "scan_output_axes": [1]}
    scan = helper.make_node("Scan", ["state", "x"], ["new_state", "queries"], body=body, **axes)
    events = [1, "L", shapes["x"][-1]]
    graph = helper.make_graph(
        [*once, scan],
        "encode",
        [_value("x", events), _value("offsets", shapes["offsets"]), _value("state", shapes["state"])],
        [_value("queries", events), _value("new_state", shapes["state"])],
        step.graph.initializer,
    )
    return helper.make_model(graph, opset_imports=step.opset_import, ir_version=step.ir_version)


def score_graph() -> "ModelProto":
    """Return the graph that scores items: query, items, bias -> scores; column 0 is -infinity."""
    _check_installed()
    from onnx import parser

    return parser.parse_model(_SCORE)


def _split(nodes: Iterable["NodeProto"], moving: set[str]) -> tuple[list["NodeProto"], list["NodeProto"]]:
    """Return the nodes that no value of ``moving`` reaches, and the others."""
    once, each = [], []
    for node in nodes:
        if moving.isdisjoint(node.input):
            once.append(node)
        else:
            moving = moving.union(node.output)
            each.append(node)
    return once, each


def _renamed(node: "NodeProto", names: dict[str, str]) -> "NodeProto":
    renamed = type(node)()
    renamed.CopyFrom(node)
    renamed.input[:] = [names.get(name, name) for name in node.input]
    renamed.output[:] = [names.get(name, name) for name in node.output]
    return renamed


def _value(name: str, shape: Sequence[int | str]) -> "ValueInfoProto":
    from onnx import TensorProto, helper

    return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)


def _shape(value: "ValueInfoProto") -> list[int]:
    return [dimension.dim_value for dimension in value.type.tensor_type.shape.dim]


def _bare(graph: "ModelProto") -> "ModelProto":
    """Drop what the exporter tells about itself: stack traces with the paths of this machine."""
    for part in (graph, graph.graph, *graph.graph.node, *graph.graph.input, *graph.graph.output):
        part.ClearField("doc_string")
        part.ClearField("metadata_props")
    graph.graph.ClearField("value_info")
    graph.ir_version = IR_VERSION
    return graph


def _buffer(name: str) -> str:
    return name.replace(".", "__")


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence what the exporter says about itself: nothing of it is about the model."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


def _check_installed() -> None:
    try:
        import onnx  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise PfsrError(f"export needs {error.name}: pip install 'pfsr[export]'") from None
