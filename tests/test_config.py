"""The page of knobs: frozen, written to JSON and back, and every one explained."""

import ast
from pathlib import Path

import pytest

from pfsr import config as module
from pfsr.config import Config, Section
from pfsr.recipe import resolve


def test_a_configuration_survives_json():
    config = resolve({"seed": 3, "federated": {"server_rate": 0.1 + 0.2}, "data": {"titles": "ü.csv"}})
    assert Config.model_validate_json(config.model_dump_json()) == config


def test_configurations_are_frozen():
    with pytest.raises(ValueError, match="frozen"):
        Config().seed = 1  # pyright: ignore[reportAttributeAccessIssue]


def test_every_knob_teaches():
    """Every field has a docstring, since ``--help`` shows nothing else."""
    tree = ast.parse(Path(module.__file__).read_text(encoding="utf-8"))
    sections = [
        node for node in tree.body if isinstance(node, ast.ClassDef) and node.name != Section.__name__
    ]
    silent = []
    for section in sections:
        for node, following in zip(section.body, [*section.body[1:], None], strict=True):
            if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
                told = isinstance(following, ast.Expr) and isinstance(following.value, ast.Constant)
                nested = section.name == "Config" and ast.unparse(node.annotation).endswith("Config")
                silent += [] if told or nested else [f"{section.name}.{node.target.id}"]
    assert sections
    assert silent == []
