"""Who follows a run: what is told, and what a first and a second Ctrl-C do."""

import io
import os
import signal
import sys

import pytest
from rich.console import Console

from pfsr.errors import PfsrError
from pfsr.federated.rounds import RoundReport
from pfsr.runs.rounds_log import read_metrics
from pfsr.runs.train import Interrupted, train
from pfsr.runs.watcher import LiveBar, Quiet, Several, TensorBoard

REPORT = RoundReport(7, 1.25, 3, 1, 40, 100, 200)
LOOK = {
    "validation": {"NDCG@10": 0.125, "HR@10": 0.25},
    "validation_personal": {"NDCG@10": 0.5, "HR@10": 1.0},
}


def plain_console() -> Console:
    return Console(file=io.StringIO(), width=40)


def told(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_a_look_is_one_line_however_narrow_the_terminal():
    console = plain_console()
    with LiveBar(console) as bar:
        bar.start(10, 0)
        bar.round(REPORT, 0.1, {})
        assert told(console) == ""
        bar.round(REPORT, 0.1, LOOK)
    expected = "global NDCG@10 0.1250 HR@10 0.2500, personal NDCG@10 0.5000 HR@10 1.0000"
    assert f"round     7  loss 1.2500  validation: {expected}\n" in told(console)


@pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_asks_and_the_second_stops_at_once(number):
    before, console = signal.getsignal(number), plain_console()
    with LiveBar(console) as bar:
        assert not bar.wants_to_stop()
        os.kill(os.getpid(), number)
        assert bar.wants_to_stop()
        assert "stopping after this round" in told(console)
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), number)
    assert signal.getsignal(number) is before


def test_a_signal_stops_a_run_after_its_round(make_run):
    class Presses(Quiet):
        def round(self, report, seconds, look):
            if report.round == 3:
                os.kill(os.getpid(), signal.SIGINT)

    run = make_run()
    with LiveBar(plain_console()) as bar, pytest.raises(Interrupted):
        train(run, Several([Presses(), bar]))
    assert len(read_metrics(run.folder)) == 3


def test_several_stop_when_any_wants_to():
    class Enough(Quiet):
        def wants_to_stop(self):
            return True

    assert not Several([Quiet(), Quiet()]).wants_to_stop()
    assert Several([Quiet(), Enough()]).wants_to_stop()


def test_tensorboard_that_is_not_installed_is_told(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(PfsrError, match=r"pip install 'pfsr\[track\]'"):
        TensorBoard(tmp_path)
