"""Workers: a death harms no other cell, a stop is resumable, and their number changes no number."""

import os
import signal

import numpy as np
import pytest

from pfsr.comparison.cores import shares
from pfsr.comparison.pool import Pool
from pfsr.comparison.work import make_cell
from pfsr.runs.watcher import Quiet

pytestmark = pytest.mark.skipif(os.name == "nt", reason="POSIX signals")


def told():
    ended = {}
    return ended, lambda cell, failure: ended.update({cell.label: failure})


def test_cores_are_shared_evenly_and_nobody_has_none():
    cores = os.sched_getaffinity(0)
    for processes in (1, 2, len(cores) + 1):
        parts = shares(processes)
        assert len(parts) == processes
        assert all(parts)
        assert set.union(*parts) == cores
    assert shares(1) == [cores]


def test_workers_find_what_this_process_finds_and_a_kill_harms_no_other(planned, tmp_path):
    names = ("popularity", "pfsr", "pfsr-no-response")
    alone = planned(*names).cells
    for cell in alone:
        make_cell(cell.folder, cell.wanted, Quiet())
    expected = [cell.evaluation() for cell in alone]
    (tmp_path / "out").rename(tmp_path / "alone")

    cells = planned(*names).cells
    ended, tell = told()

    def kill_pfsr(running):
        for one in running:
            if one.cell.label == "pfsr seed 0" and one.process.poll() is None:
                one.process.kill()

    pool = Pool(cells, 2, tell)
    assert pool.run(kill_pfsr)
    assert ended["popularity"] is ended["pfsr-no-response seed 0"] is None
    assert ended["pfsr seed 0"] == pool.failed["pfsr seed 0"] == "ended by SIGKILL (out of memory?)"
    assert [cell.result() is None for cell in cells] == [False, True, False]

    ended, tell = told()
    assert Pool([cells[1]], 2, tell).run(lambda _: None)
    assert ended == {"pfsr seed 0": None}
    for cell, found in zip(cells, expected, strict=True):
        assert np.array_equal(cell.evaluation().ranks, found.ranks)
        assert np.array_equal(cell.evaluation().nll, found.nll)


def test_what_fails_is_told_on_a_line_with_all_that_needs_it(planned, own_method):
    broken = 'about = "x"\nkind = "run"\n[settings.federated]\nmin_events = 999'
    copies = 'about = "x"\nkind = "ditto"\nof = "pfsr-no-response"\n[tuning]\nsteps = 1\nrate = 1e-3'
    cells = planned(str(own_method("broken", broken)), str(own_method("copies", copies))).cells
    below, copy = cells[1:]
    ended, tell = told()
    # Without the cell below among those to be made, the copy cannot start from it.
    assert Pool([cells[0], copy], 2, tell).run(lambda _: None)
    assert below.result() is None
    assert "nobody has 999 training events" in ended["broken seed 0"]
    assert "nothing to start from" in ended["copies seed 0"]
    assert all("\n" not in failure for failure in ended.values())


def test_a_worker_that_something_else_stops_is_told_and_can_go_on(planned):
    cells = planned("pfsr", federated={"rounds": 100_000}).cells
    ended, tell = told()

    asked = []

    def stop_the_worker(running):
        if cells[0].rounds_done() >= 3 and not asked:
            asked.append(True)
            running[0].process.terminate()

    pool = Pool(cells, 1, tell)
    assert pool.run(stop_the_worker)
    assert ended == pool.failed
    assert "stopped by a signal from elsewhere; the same command goes on" in ended["pfsr seed 0"]
    assert list(cells[0].folder.checkpoints.glob("round-*"))


def test_a_stop_leaves_a_cell_that_goes_on(planned):
    cells = planned("pfsr", "popularity", federated={"rounds": 100_000}).cells
    ended, tell = told()

    asked = []

    def stop(running):
        if cells[0].rounds_done() >= 3 and not asked:
            asked.append(True)
            os.kill(os.getpid(), signal.SIGTERM)

    before = signal.getsignal(signal.SIGTERM)
    assert not Pool(cells, 1, tell).run(stop)
    assert signal.getsignal(signal.SIGTERM) is before
    assert ended == {}
    assert cells[0].rounds_done() >= 3
    assert list(cells[0].folder.checkpoints.glob("round-*"))
    assert not (cells[1].folder.root / "wanted.json").exists()
