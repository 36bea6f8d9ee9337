import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser

import numpy as np
import pytest

from pfsr.errors import PfsrError
from pfsr.evaluation.report import ReportContent, write_report
from pfsr.evaluation.result import Evaluation

FIGURES = {
    "loss", "validation-rounds", "validation-traffic", "methods", "cutoffs", "ties", "lengths", "gain-people",
    "gain-slices",
}  # fmt: skip
VOID = {"meta", "br", "link", "img", "hr", "input"}


def evaluations(people=300):
    random = np.random.default_rng(0)
    lengths, tied = random.integers(1, 90, people), random.random(people) < 0.4
    found = []
    for name, mean in (("popularity", 7.0), ("markov", 6.5), ("global", 6.0), ("personal", 5.8)):
        nll = np.abs(random.normal(mean, 1, people)) + 0.1
        ranks = np.maximum(1, np.exp(nll - 4).astype(int))
        found.append(
            Evaluation(name, np.arange(people), ranks, nll, lengths, tied, lengths < 2, lengths == 40)
        )
    return found


def content(**changes):
    look = {"NDCG@10": 0.1, "HR@10": 0.2, "NLL": 6.0}
    rounds = [
        {"round": i, "loss": 6 - i / 50, "clients": 8, "bytes_up": 4000, "bytes_down": 8000, "seconds": 0.5}
        | ({"validation": look, "validation_personal": look} if i % 10 == 0 else {})
        for i in range(1, 51)
    ]
    parts = {
        "config": {"seed": 3, "model": {"d_model": 64}},
        "facts": {"data": "toy <b>&", "people": 300, "items": 90, "seed": 3, "wall_seconds": 4000.0,
                  "peak_memory_bytes": 2_500_000_000, "versions": {"torch": "2.13"}},
        "rounds": rounds,
        "evaluations": {"test": evaluations()},
        "command": "pfsr train --seed 3",
    }  # fmt: skip
    return ReportContent("A run & its <numbers>", **{**parts, **changes})


class Structure(HTMLParser):
    """Checks that tags nest, and collects ids and loaded addresses."""

    def __init__(self, page):
        super().__init__()
        self.open, self.ids, self.loads, self.text = [], [], [], []
        self.feed(page)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        if tag not in VOID:
            self.open.append(tag)
        self._note(tag, dict(attrs))

    def handle_startendtag(self, tag, attrs):
        self._note(tag, dict(attrs))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)

    def _note(self, tag, attrs):
        assert tag not in {"script", "iframe", "link", "img"}
        self.ids += [attrs["id"]] if "id" in attrs else []
        self.loads += [attrs[name] for name in ("src", "href", "xlink:href") if name in attrs]


def written(path, what):
    write_report(path / "report.html", what)
    return (path / "report.html").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def full(tmp_path_factory):
    folder = tmp_path_factory.mktemp("report")
    return folder, written(folder, content())


def test_what_a_memory_of_pairs_took_is_moved_before_the_first_round():
    rounds = [{"round": n, "bytes_up": 1000, "bytes_down": 3000} for n in (1, 2)]
    facts = {"people": 4, "pairs_sent_bytes": 500, "pairs_received_bytes": 1500}
    assert ReportContent("t", {}, facts, rounds, {}, "").traffic() == pytest.approx([0.003, 0.004])
    assert ReportContent("t", {}, {"people": 4}, rounds, {}, "").traffic() == pytest.approx([0.001, 0.002])


def test_the_page_is_well_formed_and_loads_nothing(full):
    structure = Structure(full[1])
    assert len(structure.ids) == len(set(structure.ids))
    assert structure.loads
    assert all(address.startswith("#") and address[1:] in structure.ids for address in structure.loads)
    assert set(re.findall(r"url\((.)", full[1])) == {"#"}
    assert "@import" not in full[1]


def test_every_figure_is_on_the_page_and_beside_it(full):
    folder, page = full
    assert set(re.findall(r'<figure id="figure-([a-z-]+)"', page)) == FIGURES
    assert {path.name for path in (folder / "figures").iterdir()} == {
        f"{name}.{kind}" for name in FIGURES for kind in ("svg", "pdf")
    }
    assert (folder / "figures" / "loss.pdf").read_bytes().startswith(b"%PDF")
    assert {path.name for path in folder.iterdir()} == {"report.html", "figures"}


def test_the_numbers_are_those_of_the_evaluations(full):
    metrics = evaluations()[-1].metrics()
    assert f'<p class="value">{metrics["NDCG@10"]:.4f}</p>' in full[1]
    for name in ("HR@5", "MRR@20", "NDCG@10"):
        assert f'<td class="best">{metrics[name]:.4f}' in full[1]
    text = " ".join("".join(Structure(full[1]).text).split())
    for fact in ("1 h 6 min", "2.5 GB", "torch 2.13", "pfsr train --seed 3", '"d_model": 64', "50", "500 B"):
        assert fact in text


def test_what_people_wrote_is_escaped(full):
    assert "A run &amp; its &lt;numbers&gt;" in full[1]
    assert "toy &lt;b&gt;&amp;" in full[1]


def test_the_same_content_gives_the_same_bytes(full, tmp_path):
    assert written(tmp_path, content()) == full[1]
    for path in (full[0] / "figures").iterdir():
        assert (tmp_path / "figures" / path.name).read_bytes() == path.read_bytes()


@pytest.mark.parametrize(
    ("missing", "gone"),
    [
        ({"evaluations": {}}, {"methods", "cutoffs", "ties", "lengths", "gain-people", "gain-slices"}),
        ({"rounds": []}, {"loss", "validation-rounds", "validation-traffic"}),
        ({"facts": {}}, {"validation-traffic"}),
        ({"evaluations": {"test": evaluations()[:3]}}, {"gain-people", "gain-slices"}),
        ({"evaluations": {"test": evaluations()[:1]}}, {"gain-people", "gain-slices", "lengths"}),
        ({"config": {}, "facts": {}, "rounds": [], "evaluations": {}, "command": ""}, FIGURES),
    ],
)
def test_parts_may_be_missing(tmp_path, missing, gone):
    page = written(tmp_path, content(**missing))
    Structure(page)
    assert set(re.findall(r'<figure id="figure-([a-z-]+)"', page)) == FIGURES - gone


@pytest.mark.parametrize("nothing", [None, float("nan")])
def test_a_round_without_a_loss_is_left_out_of_the_curve(tmp_path, nothing):
    rounds = content().rounds
    before, after = rounds[:24], rounds[25:]
    written(tmp_path / "with", content(rounds=[*before, {**rounds[24], "loss": nothing}, *after]))
    written(tmp_path / "without", content(rounds=[*before, *after]))
    drawn, expected = (tmp_path / name / "figures" / "loss.svg" for name in ("with", "without"))
    assert drawn.read_bytes() == expected.read_bytes()


def test_without_matplotlib_the_tables_stay_and_one_line_says_why(tmp_path, monkeypatch):
    for name in [name for name in sys.modules if name.split(".")[0] == "matplotlib"]:
        monkeypatch.delitem(sys.modules, name)
    for name in ("figures", "drawing", "curves", "comparisons"):
        monkeypatch.delitem(sys.modules, f"pfsr.evaluation.{name}", raising=False)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    page = written(tmp_path, content())
    assert "pip install &#39;pfsr[report]&#39;" in page
    assert "<figure" not in page
    assert page.count("<table") == 3
    assert not (tmp_path / "figures").exists()


def test_without_jinja2_one_line_says_how_to_mend_it(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "jinja2", None)
    with pytest.raises(PfsrError, match=r"pip install 'pfsr\[report\]'"):
        write_report(tmp_path / "report.html", content())
    assert not list(tmp_path.iterdir())


CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome") or ""


@pytest.mark.skipif(not CHROMIUM, reason="needs Chromium, to lay the page out at phone width")
def test_a_phone_never_scrolls_sideways(full, tmp_path):
    shutil.copy(full[0] / "report.html", tmp_path / "report.html")
    # A frame, because headless Chromium refuses windows narrower than about 500 pixels.
    (tmp_path / "frame.html").write_text(
        '<iframe id="f" src="report.html" style="width:390px;height:800px"></iframe><script>'
        "window.onload = () => { const page = document.getElementById('f').contentDocument;"
        "document.title = [page.documentElement.scrollWidth, page.querySelector('.scroll').scrollWidth,"
        "page.querySelectorAll('figure svg').length].join(' '); }</script>"
    )
    dom = subprocess.run(
        [
            CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-sync",
            "--disable-background-networking", "--disable-component-update", "--allow-file-access-from-files",
            f"--user-data-dir={tmp_path / 'profile'}", "--dump-dom", (tmp_path / "frame.html").as_uri(),
        ],
        capture_output=True, text=True, check=True, timeout=120,
    ).stdout  # fmt: skip
    page, table, figures = map(int, re.findall(r"<title>(\d+) (\d+) (\d+)</title>", dom)[0])
    assert page <= 390
    assert table > 390
    assert figures == len(FIGURES)
