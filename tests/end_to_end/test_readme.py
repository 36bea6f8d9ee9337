"""The README's quickstart runs as printed."""

import re
from pathlib import Path

import torch

README = Path(__file__).parents[2] / "README.md"


def test_the_quickstart_runs_as_printed(tmp_path, monkeypatch, capsys):
    code = re.search(
        r"<!-- quickstart -->\n```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL
    )
    assert code is not None
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    exec(compile(code[1], str(README), "exec"), names)
    told = capsys.readouterr().out
    assert "personal" in told
    assert "Synthetic" in told
    assert Path("runs/quickstart/report.html").exists()
    scores = names["scores"]
    assert isinstance(scores, torch.Tensor)
    assert scores.shape == (301,)


def test_the_quickstart_has_twelve_lines_of_code():
    code = README.read_text(encoding="utf-8").split("```python\n")[1].split("```")[0]
    assert len([line for line in code.splitlines() if line.strip()]) <= 12


def test_both_commands_are_shown():
    text = README.read_text(encoding="utf-8")
    assert "make demo" in text
    assert "make test" in text
