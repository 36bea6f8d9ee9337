"""What the commands do when all is well."""

import json
import re
from pathlib import Path

import polars as pl
import pytest

from pfsr.model.bundle import open_bundle


def ranked(out: str) -> list[str]:
    """Return the item ids of a printed table of recommendations."""
    return [line.split("│")[2].strip() for line in out.splitlines() if re.match(r"│ +\d", line)]


def seen_by(world, person: int) -> list[str]:
    events = pl.read_csv(world).filter(pl.col("user_id") == person).sort("timestamp")
    return [str(item) for item in events["item_id"]]


def test_train_leaves_a_whole_run(trained):
    names = {path.name for path in trained.iterdir()}
    assert names == {
        "config.json", "facts.json", "metrics.jsonl", "checkpoints", "private.f32", "best.safetensors",
        "evaluation", "report.html", "figures",
    }  # fmt: skip
    assert {path.name for path in (trained / "evaluation").iterdir()} == {
        f"{part}-{name}.npz"
        for part in ("validation", "test")
        for name in ("popularity", "markov", "global", "personal")
    }
    assert "<h1>tiny</h1>" in (trained / "report.html").read_text()


def test_train_tells_what_it_does(pfsr_command, recipe):
    told = pfsr_command("train", recipe, "--federated.rounds", "2", "--name", "told")
    assert (told.status, told.err) == (0, "")
    assert "world: 40 people, 30 items" in told.out
    for word in (
        "round     2",
        "HR@10",
        "personal gain",
        "runs/told/report.html",
        "pfsr recommend runs/told",
    ):
        assert word in told.out


def test_a_run_repeats_from_its_own_configuration(pfsr_command, trained, tmp_path):
    again = tmp_path / "again"
    assert pfsr_command("train", trained / "config.json", "--out", again).status == 0
    assert (again / "config.json").read_bytes() == (trained / "config.json").read_bytes()
    assert (again / "best.safetensors").read_bytes() == (trained / "best.safetensors").read_bytes()
    assert (again / "private.f32").read_bytes() == (trained / "private.f32").read_bytes()


def test_numbers_of_bits_come_from_the_command_line(pfsr_command, recipe):
    bits = ["--federated.upload-bits", "1", "--federated.download-bits", "16", "--federated.rounds", "1"]
    assert pfsr_command("train", recipe, "--out", "thin", *bits).status == 0
    thin = json.loads(Path("thin/metrics.jsonl").read_text())
    assert pfsr_command("train", recipe, "--out", "thick", "--federated.rounds", "1").status == 0
    thick = json.loads(Path("thick/metrics.jsonl").read_text())
    assert thin["bytes_up"] < 0.2 * thick["bytes_up"]
    assert thin["bytes_down"] < 0.6 * thick["bytes_down"]


def test_central_training_over_a_recipe_that_switches_the_rest_off(pfsr_command, recipe, tmp_path):
    off = tmp_path / "off.toml"
    off.write_text(recipe.read_text() + '[response]\nmode = "off"\n[objective]\nmagnitude = "off"\n')
    assert pfsr_command("train", off, "--out", "pooled", "--training", "central").status == 0
    rounds = [json.loads(line) for line in Path("pooled/metrics.jsonl").read_text().splitlines()]
    assert {(one["bytes_up"], one["bytes_down"]) for one in rounds} == {(0, 0)}
    refused = pfsr_command("train", recipe, "--out", "not", "--training", "central")
    assert refused.status == 1
    assert "training = 'central' needs response.mode = 'off'" in refused.err


def test_the_command_line_overrides_the_recipe(pfsr_command, recipe, world, tmp_path):
    options = ["--federated.rounds", "1", "--data", world, "--data.split", "time", "--seed", "5"]
    told = pfsr_command("train", recipe, "--out", "here", *options)
    assert told.status == 0
    config = json.loads((tmp_path / "here" / "config.json").read_text())
    facts = json.loads((tmp_path / "here" / "facts.json").read_text())
    assert (config["federated"]["rounds"], config["seed"], config["model"]["d_model"]) == (1, 5, 16)
    assert (facts["split"], facts["seed"]) == ("time", 5)
    assert "time split" in told.out


def test_settings_that_fit_only_the_recipe_are_taken(pfsr_command, recipe, tmp_path):
    options = ["--model.d-model", "18", "--federated.rounds", "1"]
    assert pfsr_command("train", recipe, *options).status == 0
    config = json.loads((tmp_path / "runs" / "tiny" / "config.json").read_text())
    assert (config["model"]["d_model"], config["model"]["heads"]) == (18, 2)


def test_overwrite_replaces_a_run(pfsr_command, recipe, run_copy):
    told = pfsr_command("train", recipe, "--out", run_copy, "--overwrite", "--federated.rounds", "1")
    assert told.status == 0
    assert len((run_copy / "metrics.jsonl").read_text().splitlines()) == 1


def test_resuming_a_finished_run_only_judges_it_again(pfsr_command, run_copy):
    before = {name: (run_copy / name).read_bytes() for name in ("metrics.jsonl", "private.f32", "facts.json")}
    assert pfsr_command("train", "--resume", run_copy).status == 0
    assert {name: (run_copy / name).read_bytes() for name in before} == before


def test_tensorboard_gets_its_files(pfsr_command, recipe, tmp_path):
    pytest.importorskip("tensorboard")
    assert pfsr_command("train", recipe, "--track", "tensorboard", "--federated.rounds", "2").status == 0
    assert list((tmp_path / "runs" / "tiny" / "tensorboard").glob("events.out.tfevents.*"))


@pytest.mark.parametrize("part", ["test", "validation", "both"])
def test_evaluate_prints_a_table_for_each_part(part, pfsr_command, run_copy):
    told = pfsr_command("evaluate", run_copy, "--part", part)
    assert (told.status, told.err) == (0, "")
    asked = ["validation", "test"] if part == "both" else [part]
    assert told.out.count("NDCG@10 by slice") == len(asked)
    for method in ("popularity", "markov", "global", "personal"):
        assert method in told.out


def test_recommend_for_a_person_leaves_out_all_that_was_seen(pfsr_command, trained, world):
    told = pfsr_command("recommend", trained, "--person", "7", "-k", "99")
    items, seen = ranked(told.out), seen_by(world, 7)
    assert "person 7 after" in told.out
    assert set(items) == {str(100 + item) for item in range(30)} & {str(i) for i in range(200)} - set(seen)
    assert "Film [" in told.out
    assert set(ranked(pfsr_command("recommend", trained, "--person", "7", "-k", "99", "--seen").out)) > set(
        items
    )


def test_recommend_excludes_events_older_than_the_window(pfsr_command, run_copy, world):
    config = json.loads((run_copy / "config.json").read_text())
    config["evaluation"]["window"] = 2
    (run_copy / "config.json").write_text(json.dumps(config))
    items = ranked(pfsr_command("recommend", run_copy, "--person", "7", "-k", "99").out)
    assert items
    assert not set(items) & set(seen_by(world, 7))


def test_recommend_without_a_person_takes_the_first(pfsr_command, trained):
    told = pfsr_command("recommend", trained)
    assert told.status == 0
    assert "person 0 after" in told.out
    assert len(ranked(told.out)) == 10


@pytest.mark.parametrize("place", ["", "best.safetensors"])
@pytest.mark.parametrize("history", ["100,101,105", " 100 , 101,105,", ""])
def test_recommend_for_a_history_equals_the_api(history, place, pfsr_command, trained):
    told = pfsr_command("recommend", trained / place, "--history", history, "-k", "5")
    ids = [part.strip() for part in history.split(",") if part.strip()]
    frame = open_bundle(trained / "best.safetensors").recommend([ids], k=5)
    assert told.status == 0
    assert ranked(told.out) == frame["item_id"].to_list()


def test_data_info_describes_a_file(pfsr_command, world):
    told = pfsr_command("data", "info", world)
    events = pl.read_csv(world)
    assert (told.status, told.err) == (0, "")
    for name, value in {"people": 40, "items": 30, "events": len(events)}.items():
        assert re.search(rf"^{name} +{value}\b", told.out, re.MULTILINE)


def test_data_info_filters_and_renames(pfsr_command, world, tmp_path):
    other = tmp_path / "other.csv"
    pl.read_csv(world).rename({"user_id": "who", "item_id": "what", "timestamp": "when"}).write_csv(other)
    columns = ["--user-column", "who", "--data.item_column", "what", "--time-column", "when"]
    told = pfsr_command("data", "info", other, *columns, "--core", "2")
    assert told.status == 0
    assert re.search(r"^people +40\b", told.out, re.MULTILINE)


@pytest.mark.parametrize("command", [[], ["train"], ["evaluate"], ["recommend"], ["data"], ["data", "info"]])
def test_help_teaches(command, pfsr_command):
    told = pfsr_command(*command, "--help")
    assert (told.status, told.err) == (0, "")
    assert "Usage: pfsr" in told.out


def test_the_version_is_the_packages(pfsr_command):
    from importlib.metadata import version

    assert pfsr_command("--version").out.strip() == version("pfsr")
