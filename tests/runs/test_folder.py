"""Run folders are made, reopened and replaced without ever touching anything else."""

import json
import os

import pytest

from pfsr.errors import PfsrError
from pfsr.runs.folder import RunFolder, clear_run, new_run, open_run, read_json, write_json
from pfsr.runs.train import start_run


def test_a_new_folder_is_not_made_before_the_run_starts(tmp_path):
    assert new_run(tmp_path / "a" / "b", overwrite=False).root == tmp_path / "a" / "b"
    assert not (tmp_path / "a").exists()


def test_an_empty_folder_will_do(tmp_path):
    assert new_run(tmp_path, overwrite=False).root == tmp_path


def test_a_folder_with_anything_in_it_needs_overwrite(tmp_path):
    (tmp_path / "facts.json").touch()
    with pytest.raises(PfsrError, match=r"--resume.*--overwrite.*--out"):
        new_run(tmp_path, overwrite=False)
    new_run(tmp_path, overwrite=True)


def test_overwrite_spares_folders_that_are_no_runs(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(PfsrError, match="not a run folder"):
        new_run(tmp_path, overwrite=True)
    assert (tmp_path / "config.json").exists()


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_file_is_no_run_folder(tmp_path, overwrite):
    (tmp_path / "file").write_text("keep")
    with pytest.raises(PfsrError, match="a file, not a folder"):
        new_run(tmp_path / "file", overwrite)
    with pytest.raises(PfsrError, match="not a run folder"):
        open_run(tmp_path / "file")
    assert (tmp_path / "file").read_text() == "keep"


def test_replacing_a_run_removes_its_parts_and_nothing_else(make_run):
    run = make_run()
    for part in (run.folder.checkpoints, run.folder.evaluation, run.folder.figures, run.folder.curves):
        part.mkdir()
        (part / "old").touch()
    for part in (run.folder.metrics, run.folder.best, run.folder.report):
        part.touch()
    (run.folder.root / "notes.txt").write_text("mine")
    clear_run(run.folder)
    assert [path.name for path in run.folder.root.iterdir()] == ["notes.txt"]


def test_a_run_that_cannot_start_leaves_the_one_before(make_run, make_config, tmp_path):
    run = make_run()
    before = run.folder.config.read_bytes()
    with pytest.raises(PfsrError):
        start_run(new_run(run.folder.root, overwrite=True), make_config(data={"source": "no-such.csv"}))
    with pytest.raises(PfsrError):
        start_run(new_run(run.folder.root, overwrite=True), make_config(federated={"min_events": 999}))
    assert run.folder.config.read_bytes() == before
    assert run.folder.private.exists()


def test_json_is_written_whole_or_not_at_all(tmp_path, monkeypatch):
    path = tmp_path / "deep" / "a.json"
    write_json(path, {"é": 1})
    assert read_json(path) == {"é": 1}

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(PfsrError, match="No space left"):
        write_json(path, {"b": 2})
    assert read_json(path) == {"é": 1}
    assert [other.name for other in path.parent.iterdir()] == ["a.json"]


@pytest.mark.parametrize("content", [b"", b"{", b"\xff", b"[1]", b"null", b'"text"'])
def test_damaged_json_is_told_in_one_line(tmp_path, content):
    path = tmp_path / "a.json"
    path.write_bytes(content)
    with pytest.raises(PfsrError, match="damaged") as caught:
        read_json(path)
    assert "\n" not in str(caught.value)


def test_missing_json_is_told(tmp_path):
    with pytest.raises(PfsrError, match="no such file"):
        read_json(tmp_path / "a.json")


def test_the_configuration_of_a_run_is_plain_json(make_run):
    run = make_run()
    assert json.loads(run.folder.config.read_text())["federated"]["rounds"] == 6
    assert isinstance(open_run(run.folder.root), RunFolder)
