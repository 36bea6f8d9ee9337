"""The Python API: train, evaluate, recommend, report, open again."""

import polars as pl
import pytest

import pfsr
from pfsr.runs.folder import open_run as open_folder
from pfsr.runs.folder import read_json

SETTINGS = {
    "data": {"core": 0},
    "model": {"d_model": 16, "d_state": 4, "heads": 2, "blocks": 1},
    "federated": {"rounds": 3, "cohort": 16, "window": 12},
    "evaluation": {"every": 3},
}


@pytest.fixture(scope="module")
def run(world_csv, tmp_path_factory):
    return pfsr.train(pfsr.load(world_csv, core=0), SETTINGS, out=tmp_path_factory.mktemp("api") / "run")


def test_every_name_of_the_package_is_there():
    assert all(getattr(pfsr, name) is not None for name in pfsr.__all__)
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        pfsr.nonsense  # noqa: B018


def test_recommendations_are_new_to_the_person(run):
    frame = run.recommend("u3", k=99)
    dataset = run.run.bench.dataset
    seen = {dataset.catalog.item_id(row) for row in dataset.sequences.history(dataset.person("u3")).tolist()}
    assert set(frame["item_id"]) == set(dataset.catalog.ids) - seen
    assert set(run.recommend("u3", k=99, exclude_seen=False)["item_id"]) == set(dataset.catalog.ids)


def test_an_unknown_person_is_told(run):
    with pytest.raises(pfsr.PfsrError, match="'nobody' is unknown"):
        run.recommend("nobody")


@pytest.mark.parametrize("part", ["test", "validation"])
def test_an_evaluation_is_a_row_per_method(run, part):
    frame = run.evaluate(part)
    assert frame["method"].to_list() == ["popularity", "markov", "global", "personal"]
    assert frame["HR@10"].is_between(0, 1).all()


def test_an_unknown_part_is_told(run):
    with pytest.raises(pfsr.PfsrError, match="'training' is unknown; use 'validation' or 'test'"):
        run.evaluate("training")


def test_the_report_lies_in_the_folder(run):
    assert run.report() == run.run.folder.report
    assert run.run.folder.report.exists()


def test_a_run_opens_again_with_its_data(run, world_csv):
    again = pfsr.open_run(run.run.folder.root, pfsr.load(world_csv, core=0))
    assert again.recommend("u3").equals(run.recommend("u3"))
    with pytest.raises(pfsr.PfsrError, match="has changed"):
        pfsr.open_run(run.run.folder.root, pfsr.load("synthetic"))


@pytest.mark.parametrize("named", ["settings", "argument", "both"])
def test_the_source_may_be_named_either_way(named, world_csv, tmp_path):
    in_settings = str(world_csv) if named == "settings" else "no-such-file.csv"
    data = SETTINGS["data"] if named == "argument" else {"core": 0, "source": in_settings}
    argument = None if named == "settings" else world_csv
    run = pfsr.train(argument, SETTINGS | {"data": data}, out=tmp_path / "run")
    assert run.run.config.data.source == str(world_csv)
    assert read_json(open_folder(tmp_path / "run").facts)["people"] == 40


def test_a_bare_table_is_refused_before_anything_is_written(tmp_path):
    table = pl.DataFrame({"user_id": ["a"], "item_id": ["x"], "timestamp": [1]})
    with pytest.raises(pfsr.PfsrError, match=r"a DataFrame; make it a data set first with pfsr\.load"):
        pfsr.train(table, out=tmp_path / "run")  # pyright: ignore[reportArgumentType]
    assert not (tmp_path / "run").exists()


def test_a_run_remembers_where_its_data_came_from(run):
    again = pfsr.open_run(run.run.folder.root)
    assert again.recommend("u3").equals(run.recommend("u3"))


def test_a_run_on_a_table_in_memory_needs_the_table_again(tmp_path, world_csv):
    table = pl.read_csv(world_csv)
    data = pfsr.load(table, core=0)
    trained = pfsr.train(data, SETTINGS, out=tmp_path / "run")
    with pytest.raises(pfsr.PfsrError, match="trained on a table in memory"):
        pfsr.open_run(tmp_path / "run")
    assert pfsr.open_run(tmp_path / "run", data).recommend("u3").equals(trained.recommend("u3"))


def test_a_run_that_is_not_finished_is_not_judged(make_run):
    started = make_run()
    with pytest.raises(pfsr.PfsrError, match="not finished; go on with pfsr train --resume"):
        pfsr.open_run(started.folder.root)
    assert pfsr.resume(started.folder.root).evaluate().height == 4
    assert pfsr.open_run(started.folder.root).evaluate().height == 4


def test_a_reopened_run_has_the_private_parameters_of_its_checkpoint(run):
    before = run.recommend("u3", k=30)
    folder = run.run.folder
    stale = folder.private.read_bytes()
    folder.private.write_bytes(bytes(len(stale)))
    restored = pfsr.open_run(folder.root).recommend("u3", k=30)
    folder.private.write_bytes(stale)
    assert restored.equals(before)
