"""``pfsr compare`` as a person calls it: plan, table, report, refusals, stop and go on."""

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from pfsr.app.main import main

METHODS = "popularity,markov,amb-fedadam,pfsr-no-response,pfsr,pfsr-scrambled"
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome") or ""


@pytest.fixture(scope="module")
def compared(recipe, tmp_path_factory):
    """Return the folder of a finished comparison."""
    folder = tmp_path_factory.mktemp("compared") / "out"
    arguments = ["--methods", METHODS, "--out", str(folder), "--processes", "2", "--federated.rounds", "4"]
    with pytest.raises(SystemExit) as ended:
        main(["compare", str(recipe), *arguments])
    assert ended.value.code == 0
    return folder


def row(text, method):
    (line,) = re.findall(rf"^\| {method} \| (?:rule|federated|control).*$", text, re.MULTILINE)
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_results_hold_every_method_sorted_with_the_command_and_the_split(compared):
    text = (compared / "results.md").read_text()
    assert f"--methods {METHODS} --seeds 1 --out {compared} --federated.rounds 4" in text
    found = {name: json.loads((compared / f"cells/{name}/seed-0/cell.json").read_text()) for name in
             METHODS.split(",")}  # fmt: skip
    assert {one["wanted"]["split"] for one in found.values()} == set(
        re.findall(r"split ([0-9a-f]{16})", text)
    )
    assert "40 people, 30 items" in text
    ndcg = {name: one["metrics"]["test"][one["own"]]["NDCG@10"] for name, one in found.items()}
    listed = re.findall(r"^\| ([a-z-]+) \| (?:rule|federated|control)", text, re.MULTILINE)
    assert sorted(listed) == sorted(ndcg)
    assert [ndcg[name] for name in listed] == sorted(ndcg.values(), reverse=True)
    for name, value in ndcg.items():
        assert f"{value:.4f}" in row(text, name)[4]
    rival = max(("popularity", "markov", "amb-fedadam"), key=lambda name: ndcg[name])
    assert f"against {rival}" in text
    assert row(text, rival)[7] == "–"
    assert row(text, "pfsr")[7].startswith(f"{ndcg['pfsr'] - ndcg[rival]:+.4f}")
    assert row(text, "pfsr")[8] == "4"
    assert "unfinished" not in text
    assert not list(compared.rglob("worker.log"))


def test_the_control_is_judged_with_the_offsets_of_others_and_set_against_the_run_below(compared):
    text = (compared / "results.md").read_text().split("## Personalized signal")[1]
    losses = {}
    for name, scorer in (("pfsr", "global"), ("pfsr", "personal"), ("pfsr-scrambled", "personal")):
        place = compared / f"cells/{name}/seed-0/evaluation/test-{scorer}.npz"
        losses[name, scorer] = np.load(place)["nll"].mean()
    for name in ("pfsr", "pfsr-scrambled"):
        (line,) = re.findall(rf"^\| {name} \| 1 \|.*$", text, re.MULTILINE)
        gain = losses["pfsr", "global"] - losses[name, "personal"]
        assert line.split("|")[4].strip().strip("*").startswith(f"{gain:+.4f}")
    assert "To test it takes pfsr and pfsr-no-magnitude" in text
    assert "not finished: pfsr-no-magnitude, pfsr-prox" in text


def test_the_report_has_the_tables_and_the_figures(compared):
    page = (compared / "report.html").read_text()
    assert set(re.findall(r'<figure id="figure-([a-z-]+)"', page)) == {
        "methods", "learning-rounds", "learning-traffic",
    }  # fmt: skip
    assert page.count("<table") == 3
    assert "history 6-10" in page
    assert "grey: the other methods" not in page  # every method has a colour here
    ids = re.findall(r'\bid="([^"]+)"', page)
    assert len(ids) == len(set(ids))
    assert set(re.findall(r"url\((.)", page)) <= {"#"}


@pytest.mark.skipif(not CHROMIUM, reason="needs Chromium, to lay the page out at phone width")
def test_a_phone_never_scrolls_sideways(compared, tmp_path):
    shutil.copy(compared / "report.html", tmp_path / "report.html")
    # A frame, because headless Chromium refuses windows narrower than about 500 pixels.
    (tmp_path / "frame.html").write_text(
        '<iframe id="f" src="report.html" style="width:390px;height:800px"></iframe><script>'
        "window.onload = () => { const page = document.getElementById('f').contentDocument;"
        "document.title = [page.documentElement.scrollWidth,"
        "page.querySelector('.scroll').scrollWidth].join(' '); }</script>"
    )
    dom = subprocess.run(
        [
            CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-sync",
            "--disable-background-networking", "--disable-component-update", "--allow-file-access-from-files",
            f"--user-data-dir={tmp_path / 'profile'}", "--dump-dom", (tmp_path / "frame.html").as_uri(),
        ],
        capture_output=True, text=True, check=True, timeout=120,
    ).stdout  # fmt: skip
    page, table = map(int, re.findall(r"<title>(\d+) (\d+)</title>", dom)[0])
    assert page <= 390
    assert table > 390


def test_the_same_command_again_makes_nothing(compared, recipe, pfsr_command, tmp_path):
    copy = shutil.copytree(compared, tmp_path / "copy")
    before = {path: path.stat().st_mtime_ns for path in copy.glob("cells/**/*") if path.is_file()}
    told = pfsr_command("compare", recipe, "--methods", METHODS, "--out", copy, "--federated.rounds", "4")
    assert (told.status, told.err) == (0, "")
    assert "done   " not in re.sub("│.*│", "", told.out)
    assert {path: path.stat().st_mtime_ns for path in copy.glob("cells/**/*") if path.is_file()} == before


def test_a_plan_lists_cells_and_makes_none(recipe, pfsr_command, tmp_path):
    told = pfsr_command("compare", recipe, "--methods", "amb-central", "--plan", "--evaluation.patience", "2")
    assert re.search(r"│ amb-central +│ +0 │ to do +│ +≤ ", told.out)
    told = pfsr_command("compare", recipe, "--methods", "markov,ditto", "--seeds", "2", "--plan")
    assert "≤" not in told.out
    assert (told.status, told.err) == (0, "")
    stated = re.findall(r"│ ([a-z-]+) +│ +(\S) │ to do", told.out)
    assert stated == [
        ("markov", "–"), ("amb-fedadam", "0"), ("ditto", "0"), ("amb-fedadam", "1"), ("ditto", "1"),
    ]  # fmt: skip
    assert "left: about" in told.out
    assert not (tmp_path / "runs/compare-tiny/cells").exists()


def test_rates_are_cells_and_the_results_name_the_one_shown(recipe, pfsr_command, tmp_path):
    arguments = ["compare", recipe, "--methods", "pfsr,popularity", "--rates", "0.5,2", "--out", "out"]
    told = pfsr_command(*arguments, "--federated.rounds", "4")
    assert (told.status, told.err) == (0, "")
    assert set(re.findall(r"^done    (.*?):", told.out, re.MULTILINE)) == {
        "pfsr rate x0.5 seed 0", "pfsr rate x2 seed 0", "popularity",
    }  # fmt: skip
    found = {}
    for factor in ("0.5", "2"):
        cell = json.loads((tmp_path / f"out/cells/pfsr/rate-x{factor}/seed-0/cell.json").read_text())
        rate, metrics = cell["wanted"]["made_of"]["config"]["federated"]["server_rate"], cell["metrics"]
        found[metrics["validation"]["personal"]["NDCG@10"]] = rate, metrics["test"]["personal"]
    rate, test = found[max(found)]
    text = (tmp_path / "out/results.md").read_text()
    assert "--rates 0.5,2" in text
    assert "test NDCG@10" not in told.out  # nobody is to choose a rate by the test
    assert "HR@10" not in told.out  # so that the rate fits beside the rest
    assert row(text, "pfsr")[9] == f"{rate:g}"
    assert f"{test['NDCG@10']:.4f}" in row(text, "pfsr")[4]


def test_a_plan_says_which_finished_cells_would_be_made_anew(compared, recipe, pfsr_command, tmp_path):
    copy = shutil.copytree(compared, tmp_path / "copy")
    arguments = ["--methods", "pfsr,popularity", "--federated.rounds", "5", "--out", copy, "--plan"]
    told = pfsr_command("compare", recipe, *arguments)
    assert re.search(r"│ pfsr +│ +0 │ anew: other settings", told.out)
    assert re.search(r"│ popularity +│ +– │ done", told.out)


def test_finished_cells_are_not_made_anew_unless_told_to(compared, recipe, pfsr_command, tmp_path):
    copy = shutil.copytree(compared, tmp_path / "copy")
    before = (copy / "results.md").read_bytes()
    arguments = ["--methods", "pfsr,popularity", "--federated.rounds", "3", "--out", copy]
    told = pfsr_command("compare", recipe, *arguments)
    assert told.status == 1
    assert "pfsr seed 0 was made with federated.rounds 4, now 3; make it anew with --overwrite" in told.err
    assert told.err.count("\n") == 1
    assert (copy / "results.md").read_bytes() == before
    assert pfsr_command("compare", recipe, *arguments, "--overwrite").status == 0
    assert json.loads((copy / "cells/pfsr/seed-0/cell.json").read_text())["cost"]["rounds"] == 3


def test_the_command_in_the_results_makes_the_same_table(world, pfsr_command, tmp_path):
    bare = tmp_path / "bare.toml"
    bare.write_text('name = "bare"\n')
    given = ["compare", bare, "--methods", "popularity", "--data", world, "--data.core", "2", "--out", "out"]
    assert pfsr_command(*given).status == 0
    text = (tmp_path / "out/results.md").read_text()
    (command,) = re.findall(r"^    pfsr (.*)$", text, re.MULTILINE)
    assert pfsr_command(*shlex.split(command)).status == 0
    assert (tmp_path / "out/results.md").read_text() == text
    assert "Against popularity" not in text


def test_a_plan_tells_of_rounds_that_other_settings_would_lose(compared, recipe, pfsr_command, tmp_path):
    copy = shutil.copytree(compared, tmp_path / "copy")
    (copy / "cells/pfsr/seed-0/cell.json").unlink()
    arguments = ["--methods", "pfsr", "--out", copy, "--plan", "--federated.rounds"]
    assert "at round 4 of 4" in pfsr_command("compare", recipe, *arguments, "4").out
    assert "anew: other settings" in pfsr_command("compare", recipe, *arguments, "5").out


def test_damage_to_what_is_done_is_told_before_anything_is_made(compared, recipe, pfsr_command, tmp_path):
    copy = shutil.copytree(compared, tmp_path / "copy")
    ranks = copy / "cells/pfsr/seed-0/evaluation/test-global.npz"
    whole = ranks.read_bytes()
    ranks.write_bytes(whole[:100] + bytes(40) + whole[140:])
    arguments = ["--methods", "pfsr,gru4rec-fedadam", "--out", copy, "--federated.rounds", "4"]
    told = pfsr_command("compare", recipe, *arguments)
    assert told.status == 1
    assert told.err.count("\n") == 1
    assert "test-global.npz" in told.err
    assert not (copy / "cells/gru4rec-fedadam").exists()


@pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
def test_ctrl_c_while_cells_are_timed_is_said_and_leaves_nothing(recipe, tmp_path):
    arguments = ["compare", str(recipe), "--methods", "pfsr,ditto,gru4rec-fedadam,sasrec-fedadam", "--plan"]
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    command = [sys.executable, "-m", "pfsr.app.main", *arguments, "--out", str(tmp_path / "out")]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env=os.environ | {"TMPDIR": str(temporary)}, start_new_session=True,
    ) as running:  # fmt: skip
        deadline = time.monotonic() + 120
        while not list(temporary.glob("pfsr-probe-*")):
            assert running.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.01)
        os.killpg(running.pid, signal.SIGINT)
        _, told = running.communicate(timeout=120)
    assert running.returncode == 130
    assert told == "error: interrupted\n"
    assert not list(temporary.glob("pfsr-probe-*"))


@pytest.mark.parametrize("damage", ["NaN", "-1", "Infinity", '"soon"'])
def test_damaged_estimates_are_made_again(damage, recipe, pfsr_command, tmp_path):
    arguments = ["compare", recipe, "--methods", "pfsr", "--out", "out", "--plan"]
    assert pfsr_command(*arguments).status == 0
    place = tmp_path / "out/estimates.json"
    place.write_text(re.sub(r": [\d.e-]+", f": {damage}", place.read_text()))
    assert damage in place.read_text()
    told = pfsr_command(*arguments)
    assert (told.status, told.err) == (0, "")
    assert all(seconds > 0 for seconds in json.loads(place.read_text()).values())


def test_a_failed_cell_is_a_line_and_the_rest_goes_on(recipe, pfsr_command, tmp_path):
    mine = tmp_path / "mine.toml"
    mine.write_text('about = "never trains"\nkind = "run"\n[settings.federated]\nmin_events = 999\n')
    told = pfsr_command("compare", recipe, "--methods", f"{mine},popularity", "--out", "out")
    assert told.status == 1
    assert re.search(r"^failed  mine seed 0: nobody has 999 training events", told.out, re.MULTILINE)
    text = (tmp_path / "out/results.md").read_text()
    assert "**1 of 2 cells are unfinished**" in text
    assert "- mine seed 0: failed: nobody has 999 training events" in text
    assert row(text, "popularity")
    assert "1 of 2 cells are unfinished" in (tmp_path / "out/report.html").read_text()


@pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
def test_stopped_it_goes_on_to_the_whole_table(recipe, pfsr_command, tmp_path):
    arguments = ["compare", str(recipe), "--methods", "pfsr", "--out", "out", "--federated.rounds", "300"]
    arguments += ["--evaluation.every", "100", "--evaluation.checkpoint-every", "100"]
    command = [sys.executable, "-m", "pfsr.app.main", *arguments]
    metrics = tmp_path / "out/cells/pfsr/seed-0/metrics.jsonl"
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as running:
        deadline = time.monotonic() + 120
        while not metrics.exists() or metrics.read_bytes().count(b"\n") < 3:
            assert running.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.02)
        running.send_signal(signal.SIGINT)
        told, _ = running.communicate(timeout=120)
    assert running.returncode == 130
    assert "stopped; the same command goes on" in told
    done = metrics.read_bytes().count(b"\n")
    assert f"- pfsr seed 0: stopped after round {done}" in (tmp_path / "out/results.md").read_text()
    ended = pfsr_command(*arguments)
    assert (ended.status, ended.err) == (0, "")
    assert f"at round {done} of 300" in ended.out
    assert metrics.read_bytes().count(b"\n") == 300
    assert "unfinished" not in (tmp_path / "out/results.md").read_text()


@pytest.mark.parametrize(
    ("arguments", "status", "word"),
    [
        (["none.toml"], 1, "none.toml"),
        (["RECIPE", "--methods", "pfrs"], 1, "did you mean 'pfsr'?"),
        (["RECIPE", "--methods", "none.toml"], 1, "no such file"),
        (["RECIPE", "--methods", "pfsr,pfsr"], 1, "twice"),
        (["RECIPE", "--methods", ","], 1, "names none"),
        (["RECIPE", "--methods", "popularity", "--out", "/dev/null"], 1, "/dev/null: a file, not a folder"),
        (
            ["RECIPE", "--methods", "pfsr", "--plan", "--out", "/dev/null"],
            1,
            "/dev/null: a file, not a folder",
        ),
        (["RECIPE", "--seeds", "few"], 1, "--seeds 'few'"),
        (["RECIPE", "--rates", "1,fast"], 1, "--rates '1,fast'"),
        (["RECIPE", "--rates", ""], 1, "--rates ''"),
        (["RECIPE", "--methods", "popularity", "--data.titles", "none.csv"], 1, "data.titles"),
        (["RECIPE", "--processes", "0"], 2, "--processes"),
        (["RECIPE", "--federated.ronds", "3"], 2, "--federated.rounds"),
        (["RECIPE", "--model.heads", "5"], 1, "heads (5) must divide"),
        (["RECIPE", "--data", "none.csv"], 1, "none.csv"),
    ],
)
def test_bad_input_is_one_line_and_nothing_is_written(
    arguments, status, word, pfsr_command, recipe, tmp_path
):
    told = pfsr_command("compare", *(str(recipe) if one == "RECIPE" else one for one in arguments))
    assert told.status == status
    assert told.err.count("\n") == 1
    assert word in told.err
    assert list(tmp_path.iterdir()) == []
