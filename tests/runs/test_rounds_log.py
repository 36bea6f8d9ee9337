import pytest

from pfsr.errors import PfsrError
from pfsr.runs.folder import RunFolder
from pfsr.runs.rounds_log import forget_after, log_round, read_metrics, settle_log

WHOLE = [{"round": number, "loss": 1.0 / number} for number in range(1, 6)]


@pytest.fixture
def logged(tmp_path) -> RunFolder:
    folder = RunFolder(tmp_path)
    for line in WHOLE:
        log_round(folder, line)
    settle_log(folder)
    return folder


def test_what_is_logged_is_read(logged):
    assert read_metrics(logged) == WHOLE


def test_metrics_of_a_run_without_rounds_are_empty(tmp_path):
    assert read_metrics(RunFolder(tmp_path)) == []


@pytest.mark.parametrize("tail", [b'{"round": 6, "lo', b"\0\0\0\0", b"\xff\xfe", b"6"])
def test_a_torn_end_is_left_out_and_forgotten(logged, tail):
    with logged.metrics.open("ab") as stream:
        stream.write(tail)
    assert read_metrics(logged) == WHOLE
    forget_after(logged, 5)
    log_round(logged, {"round": 6})
    assert read_metrics(logged) == [*WHOLE, {"round": 6}]


def test_rounds_beyond_the_checkpoint_are_forgotten(logged):
    forget_after(logged, 3)
    assert read_metrics(logged) == WHOLE[:3]


@pytest.mark.parametrize("damage", ["5", "\0\0", '{"loss": 1.0}', '{"round": 3}', '["round"]'])
def test_damage_in_the_middle_is_refused_by_name(logged, damage):
    lines = logged.metrics.read_text().splitlines()
    lines[1] = damage
    logged.metrics.write_text("\n".join(lines) + "\n")
    before = logged.metrics.read_bytes()
    for read in (read_metrics, lambda folder: forget_after(folder, 5)):
        with pytest.raises(PfsrError, match=r"metrics\.jsonl: round 2 is damaged or missing; .*train again"):
            read(logged)
    assert logged.metrics.read_bytes() == before


def test_a_lost_line_is_refused(logged):
    lines = logged.metrics.read_text().splitlines(keepends=True)
    logged.metrics.write_text("".join(lines[:2] + lines[3:]))
    with pytest.raises(PfsrError, match="round 3"):
        read_metrics(logged)


def test_a_finished_run_has_all_its_rounds(logged):
    assert read_metrics(logged, rounds=5) == WHOLE
    with pytest.raises(PfsrError, match="round 6"):
        read_metrics(logged, rounds=6)
