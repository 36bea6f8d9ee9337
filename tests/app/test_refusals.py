"""Whatever a person gets wrong, the answer is one line on standard error, and nothing is written."""

import json
from pathlib import Path

import pytest


def refused(told, status, *words):
    assert told.status == status
    assert told.err.count("\n") == 1
    assert told.err.startswith("error: ")
    assert "Traceback" not in told.out + told.err
    for word in words:
        assert word in told.err


@pytest.fixture
def places(world, recipe, trained):
    return {"WORLD": str(world), "RECIPE": str(recipe), "RUN": str(trained)}


@pytest.mark.parametrize(
    ("arguments", "status", "word"),
    [
        (["trian"], 2, "train"),
        (["--foo"], 2, "--foo"),
        (["train", "none.toml"], 1, "none.toml"),
        (["train", "RECIPE", "--federated.ronds", "3"], 2, "--federated.rounds"),
        (["train", "RECIPE", "--federated.rounds", "many"], 2, "federated.rounds"),
        (["train", "RECIPE", "--federated.rounds", "-1"], 2, "federated.rounds"),
        (["train", "RECIPE", "--federated.rounds"], 2, "--federated.rounds"),
        (["train", "RECIPE", "--model.heads", "5"], 1, "heads (5) must divide d_model x expand (16)"),
        (["train", "RECIPE", "--response.mode", "maybe"], 2, "response.mode"),
        (["train", "RECIPE", "--data", "none.csv"], 1, "none.csv"),
        (["train", "RECIPE", "--data.user-column", "who"], 1, "who"),
        (["train", "RECIPE", "--data.core", "999"], 1, "data.core"),
        (["train", "RECIPE", "--data.titles", "none.csv"], 1, "none.csv"),
        (["train", "RECIPE", "--federated.min-events", "999"], 1, "federated.min_events"),
        (["train", "RECIPE", "--out", "RECIPE"], 1, "a file, not a folder"),
        (["train", "RECIPE", "--out", "RECIPE/deep"], 1, "Not a directory"),
        (["train", "RECIPE", "--out", ""], 2, "--out: it is empty"),
        (["compare", "RECIPE", "--methods", "popularity", "--out", ""], 2, "--out: it is empty"),
        (["export", "RUN", "--out", ""], 2, "--out: it is empty"),
        (["train", "WORLD"], 1, "not a recipe"),
        (["train", "."], 1, "recipe ."),
        (["train", "--resume", "none"], 1, "not a run folder"),
        (["train", "--resume", "RUN", "--seed", "1"], 1, "give nothing else"),
        (["train", "RECIPE", "--resume", "RUN"], 1, "give nothing else"),
        (["train", "RECIPE", "extra"], 2, "extra"),
        (["evaluate"], 2, "--run"),
        (["evaluate", "none"], 1, "not a run folder"),
        (["evaluate", "WORLD"], 1, "not a run folder"),
        (["evaluate", "RUN", "--part", "all"], 2, "--part"),
        (["recommend"], 2, "--model"),
        (["recommend", "none"], 1, "not a run folder"),
        (["recommend", "none", "--history", "1"], 1, "no such bundle"),
        (["recommend", "RUN", "--person", "nobody"], 1, "nobody"),
        (["recommend", "RUN", "--person", "²"], 1, "²"),
        (["recommend", "RUN", "--person", "99999999999999999999"], 1, "is unknown"),
        (["recommend", "RUN", "--history", "100,[bold]"], 1, "'[bold]'"),
        (["recommend", "RUN", "--history", "²"], 1, "²"),
        (["recommend", "RUN", "--history", "-1"], 1, "-1"),
        (["recommend", "RUN", "--history", "100", "--person", "1"], 1, "not both"),
        (["recommend", "RUN", "-k", "0"], 1, "k must be"),
        (["recommend", "RUN", "-k", "few"], 2, "-k"),
        (["recommend", "WORLD", "--history", "1"], 1, "not a bundle"),
        (["recommend", "RUN/best.safetensors"], 1, "not a run folder"),
        (["data", "info"], 2, "--source"),
        (["data", "info", "none.csv"], 1, "none.csv"),
        (["data", "info", "."], 1, "."),
        (["data", "info", "WORLD", "--core", "-1"], 2, "--core"),
        (["data", "info", "WORLD", "--core", "999"], 1, "999"),
        (["data", "info", "WORLD", "--user-column", "who"], 1, "who"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_bad_input_is_one_line(arguments, status, word, pfsr_command, places):
    for name, place in places.items():
        arguments = [argument.replace(name, place) for argument in arguments]
    refused(pfsr_command(*arguments), status, word)
    assert list(Path.cwd().iterdir()) == []


def test_a_folder_that_is_not_empty_is_kept(pfsr_command, recipe, run_copy):
    before = {path: path.read_bytes() for path in run_copy.rglob("*") if path.is_file()}
    refused(pfsr_command("train", recipe, "--out", run_copy), 1, "--resume", "--overwrite", "--out")
    refused(pfsr_command("train", recipe, "--out", run_copy, "--overwrite", "--data", "none.csv"), 1, "none")
    refused(pfsr_command("train", recipe, "--out", run_copy.parent, "--overwrite"), 1, "not a run folder")
    assert {path: path.read_bytes() for path in run_copy.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize("command", [["evaluate"], ["recommend"], ["train", "--resume"]])
@pytest.mark.parametrize("part", ["config.json", "facts.json"])
@pytest.mark.parametrize("content", ["", "[]", '{"federated": 3}'])
def test_a_damaged_run_folder_is_told(command, part, content, pfsr_command, run_copy):
    (run_copy / part).write_text(content)
    refused(pfsr_command(*command, run_copy), 1)


@pytest.mark.parametrize("command", [["evaluate"], ["recommend"]])
def test_a_run_without_a_model_is_told(command, pfsr_command, run_copy):
    (run_copy / "best.safetensors").unlink()
    refused(pfsr_command(*command, run_copy), 1, "best.safetensors", "first look")


def test_a_damaged_bundle_is_told(pfsr_command, run_copy):
    bundle = run_copy / "best.safetensors"
    bundle.write_bytes(bundle.read_bytes()[:100])
    for command in (
        ["evaluate", run_copy],
        ["recommend", run_copy],
        ["recommend", bundle, "--history", "100"],
    ):
        refused(pfsr_command(*command), 1, "best.safetensors", "damaged")


def test_data_that_changed_is_told(pfsr_command, run_copy, world, tmp_path):
    copy = tmp_path / "world.csv"
    copy.write_text(world.read_text() + "1,101,999999\n")
    config = json.loads((run_copy / "config.json").read_text())
    config["data"]["source"] = str(copy)
    (run_copy / "config.json").write_text(json.dumps(config))
    for command in (["evaluate"], ["recommend"], ["train", "--resume"]):
        refused(pfsr_command(*command, run_copy), 1, "has changed since this run started")


def test_a_full_disk_is_one_line(pfsr_command, recipe, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device", "runs/tiny/metrics.jsonl")

    monkeypatch.setattr(Path, "open", full)
    refused(pfsr_command("data", "info", "some.csv"), 1)
    monkeypatch.undo()
    monkeypatch.setattr("pfsr.runs.train.log_round", full)
    told = pfsr_command("train", recipe)
    assert told.status == 1
    assert told.err == "error: runs/tiny/metrics.jsonl: No space left on device\n"
