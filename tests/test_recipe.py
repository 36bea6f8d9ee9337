"""Every setting is checked, and every complaint is one line that names the key."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pfsr.config import Config
from pfsr.errors import PfsrError
from pfsr.recipe import merge, read_recipe, resolve

RECIPES = sorted((Path(__file__).parents[1] / "recipes").glob("*.toml"))

leaves = st.integers() | st.text(max_size=3)
trees = st.dictionaries(
    st.sampled_from("abcd"), leaves | st.dictionaries(st.sampled_from("abcd"), leaves, max_size=3), max_size=4
)


def complaint(settings: dict[str, Any], overrides: dict[str, Any] | None = None) -> str:
    with pytest.raises(PfsrError) as caught:
        resolve(settings, overrides, origin="mine.toml")
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith("mine.toml: ")
    return message


@pytest.mark.parametrize(
    ("settings", "key"),
    [
        ({"federatd": {}}, "federatd"),
        ({"federated": {"ronds": 3}}, "federated.ronds"),
        ({"federated": {"rounds": "many"}}, "federated.rounds"),
        ({"federated": {"rounds": 0}}, "federated.rounds"),
        ({"federated": {"rounds": 2.5}}, "federated.rounds"),
        ({"federated": {"server": "sgd"}}, "federated.server"),
        ({"federated": {"server_rate": float("nan")}}, "federated.server_rate"),
        ({"federated": {"server_rate": float("inf")}}, "federated.server_rate"),
        ({"federated": {"unavailable": 1.0}}, "federated.unavailable"),
        ({"federated": {"final_rate": -0.1}}, "federated.final_rate"),
        ({"objective": {"seen": "masked"}}, "objective.seen"),
        ({"objective": {"spread": 0.0}}, "objective.spread"),
        ({"objective": {"spread": 1.5}}, "objective.spread"),
        ({"model": {"dropout": float("nan")}}, "model.dropout"),
        ({"model": {"dropout": "some"}}, "model.dropout"),
        ({"model": {"d_model": 10, "heads": 4}}, "model"),
        ({"model": {"d_model": -1}}, "model.d_model"),
        ({"data": "ml-1m"}, "data"),
        ({"data": {"source": ["a", "b"]}}, "data.source"),
        ({"data": {"split": "random"}}, "data.split"),
        ({"evaluation": {"patience": -1}}, "evaluation.patience"),
        ({"seed": -1}, "seed"),
        ({"track": "wandb"}, "track"),
    ],
)
def test_a_bad_setting_is_named_on_one_line(settings, key):
    assert complaint(settings).startswith(f"mine.toml: {key}: ")


def test_a_bad_value_is_shown_but_never_at_length():
    assert "'many'" in complaint({"federated": {"rounds": "many"}})
    assert len(complaint({"federated": {"rounds": "x" * 10_000}})) < 300


def test_a_knob_that_takes_a_number_or_a_word_is_told_both():
    message = complaint({"model": {"dropout": "atuo"}})
    assert "number" in message
    assert "'auto'" in message
    assert "'atuo'" in message


def test_the_heads_rule_reads_like_a_sentence():
    message = complaint({"model": {"d_model": 10}})
    assert message == "mine.toml: model: heads (4) must divide d_model x expand (10)"


def test_overrides_lie_on_top_of_the_recipe_and_defaults_below():
    config = resolve(
        {"seed": 1, "federated": {"rounds": 7, "cohort": 8}}, {"federated": {"rounds": 9}, "name": "x"}
    )
    assert (config.seed, config.name) == (1, "x")
    assert (config.federated.rounds, config.federated.cohort) == (9, 8)
    assert config.federated.window == Config().federated.window


@given(trees, trees)
def test_merging_keeps_every_leaf_and_the_override_wins(base, over):
    merged = merge(base, over)
    assert set(merged) == set(base) | set(over)
    assert merge(merged, over) == merged
    assert merge(base, {}) == base
    assert merge({}, over) == over
    for name, value in over.items():
        if not isinstance(value, dict):
            assert merged[name] == value


def test_merging_changes_neither_side():
    base, over = {"a": {"b": 1}}, {"a": {"c": 2}}
    assert merge(base, over) == {"a": {"b": 1, "c": 2}}
    assert (base, over) == ({"a": {"b": 1}}, {"a": {"c": 2}})


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.toml", b"rounds 3", "not a recipe (TOML)"),
        ("a.toml", b"\xff\xfe\x00", "not a recipe (TOML)"),
        ("a.json", b"{", "not a recipe (JSON)"),
        ("a.json", b"[1, 2]", "found a list"),
        ("a.json", b"", "not a recipe (JSON)"),
    ],
)
def test_a_file_that_is_no_recipe_is_refused(tmp_path, name, content, said):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(PfsrError) as caught:
        read_recipe(path)
    assert said in str(caught.value)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_recipe_or_a_folder_is_refused(tmp_path):
    with pytest.raises(PfsrError, match=r"no such file; recipes .* recipes/"):
        read_recipe(tmp_path / "none.toml")
    with pytest.raises(PfsrError, match="cannot be read"):
        read_recipe(tmp_path)


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_every_recipe_resolves_under_its_own_name(path):
    assert resolve(read_recipe(path), origin=str(path)).name == path.stem


def test_there_are_recipes():
    assert RECIPES
