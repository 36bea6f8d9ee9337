"""Training is reproducible, resumable after any round, and leaves the files it promises."""

import json
from typing import Any

import numpy as np
import pytest

from pfsr.errors import NotFiniteError, PfsrError
from pfsr.federated.rounds import RoundReport
from pfsr.model.bundle import open_bundle, read_tensors
from pfsr.runs.folder import RunFolder, open_run, read_json
from pfsr.runs.judging import judge
from pfsr.runs.rounds_log import read_metrics
from pfsr.runs.scoring import ModelScorer
from pfsr.runs.train import Interrupted, Run, reopen_run, start_run, train
from pfsr.runs.watcher import Quiet
from pfsr.simulation.simulator import Simulator


class StopAfter(Quiet):
    """Asks to stop once ``rounds`` rounds are done."""

    def __init__(self, rounds: int) -> None:
        self.rounds = rounds
        self.seen: list[int] = []

    def round(self, report: RoundReport, seconds: float, look: dict[str, Any]) -> None:
        self.seen.append(report.round)

    def wants_to_stop(self) -> bool:
        return bool(self.seen) and self.seen[-1] >= self.rounds


def untimed(folder: RunFolder) -> list[dict[str, Any]]:
    return [{key: value for key, value in line.items() if key != "seconds"} for line in read_metrics(folder)]


def outcome(folder: RunFolder) -> dict[str, Any]:
    """Return everything that must not depend on how often the run was interrupted."""
    (newest,) = folder.checkpoints.glob("round-*")
    return {
        "checkpoint": newest.name,
        "server": (newest / "server.safetensors").read_bytes(),
        "best": folder.best.read_bytes(),
        "private": folder.private.read_bytes(),
        "metrics": untimed(folder),
    }


@pytest.mark.parametrize("stops", [(1,), (2,), (3,), (5,), (1, 2, 3, 4, 5)])
def test_an_interrupted_run_ends_bit_equal(stops, make_run, finished):
    run = make_run()
    for stop in stops:
        with pytest.raises(Interrupted):
            train(run, StopAfter(stop))
        run = reopen_run(open_run(run.folder.root))
    train(run, Quiet())
    assert outcome(run.folder) == outcome(finished.folder)


def test_a_resumed_run_starts_where_the_checkpoint_stands(make_run):
    run, rest = make_run(), StopAfter(99)
    with pytest.raises(Interrupted):
        train(run, StopAfter(4))
    train(reopen_run(open_run(run.folder.root)), rest)
    assert rest.seen == [5, 6]


def test_asking_to_stop_in_the_last_round_finishes_the_run(make_run, finished):
    run = make_run()
    train(run, StopAfter(6))
    assert outcome(run.folder) == outcome(finished.folder)


def test_resuming_a_finished_run_changes_nothing(make_run):
    run = make_run()
    train(run, Quiet())
    before, watcher = outcome(run.folder), StopAfter(99)
    again = train(reopen_run(open_run(run.folder.root)), watcher)
    assert watcher.seen == []
    assert outcome(run.folder) == before
    assert len(again.catalog) == 30


def test_the_same_seed_gives_the_same_run_and_another_seed_does_not(make_run, finished):
    same, other = make_run("same"), make_run("other", seed=1)
    train(same, Quiet())
    train(other, Quiet())
    assert outcome(same.folder) == outcome(finished.folder)
    assert untimed(other.folder) != untimed(finished.folder)


@pytest.mark.parametrize("threads", [1, 2])
def test_the_number_of_threads_does_not_matter(threads, make_run, finished):
    run: Run = make_run()
    simulator = Simulator(run.trainer.population, run.config, threads=threads)
    train(run._replace(trainer=simulator), Quiet())
    assert outcome(run.folder) == outcome(finished.folder)


def test_metrics_hold_one_line_a_round_and_a_look_when_due(finished):
    lines = read_metrics(finished.folder)
    assert [line["round"] for line in lines] == [1, 2, 3, 4, 5, 6]
    for line in lines:
        assert line["clients"] == 16
        assert line["silent"] == 0
        assert line["events"] > 0
        assert 0 < line["loss"] < 10
        assert line["bytes_up"] > 0
        assert line["seconds"] > 0
        assert ("validation" in line) == ("validation_personal" in line) == (line["round"] % 2 == 0)
    look = lines[-1]["validation"]
    assert 0 <= look["NDCG@10"] <= look["HR@10"] <= 1


def test_with_private_offsets_the_newest_model_is_final(finished):
    assert read_json(finished.folder.facts)["model_of_round"] == finished.config.federated.rounds


def test_without_private_offsets_the_model_of_the_best_look_is_final(make_run):
    run = make_run(response={"mode": "off"})
    train(run, Quiet())
    looks = {m["round"]: m["validation"]["NDCG@10"] for m in read_metrics(run.folder) if "validation" in m}
    best = max(looks, key=lambda r: looks[r])
    assert read_json(run.folder.facts)["model_of_round"] == best
    model = ModelScorer("global", open_bundle(run.folder.best), run.config.evaluation.window)
    seen = judge(run.bench, model, run.bench.split.validation).metrics()["NDCG@10"]
    assert seen == pytest.approx(looks[best])


def test_facts_say_what_the_run_was_made_of(finished):
    facts = read_json(finished.folder.facts)
    weights = open_bundle(finished.folder.best).weights
    assert facts["split_hash"] == finished.bench.split.digest
    assert (facts["people"], facts["items"], facts["split"]) == (40, 30, "leave-one-out")
    assert facts["events"] == len(finished.bench.dataset.sequences.items)
    assert facts["synthetic"] is False
    assert facts["shared_parameters"] == sum(weight.numel() for weight in weights.values())
    assert facts["private_parameters"] == finished.trainer.sites.total
    assert {"pfsr", "torch", "numpy", "polars", "python"} <= set(facts["versions"])
    assert facts["wall_seconds"] >= 0
    assert facts["peak_memory_bytes"] > 0


def test_the_configuration_is_written_in_full(finished):
    assert read_json(finished.folder.config) == finished.config.model_dump()


def test_unavailable_clients_are_counted(make_run):
    run = make_run(federated={"unavailable": 0.5})
    train(run, Quiet())
    lines = read_metrics(run.folder)
    assert all(line["clients"] + line["silent"] == 16 for line in lines)
    assert 0 < sum(line["silent"] for line in lines) < 6 * 16


def test_patience_stops_a_run_that_does_not_improve(make_run):
    run = make_run(federated={"rounds": 50, "server_rate": 1e-30}, evaluation={"every": 1, "patience": 2})
    train(run, Quiet())
    assert len(read_metrics(run.folder)) == 3
    assert read_json(run.folder.facts)["model_of_round"] == 3
    watcher = StopAfter(99)
    train(reopen_run(open_run(run.folder.root)), watcher)
    assert watcher.seen == []


def test_without_personal_response_nothing_is_private(make_run):
    run = make_run(response={"mode": "off"})
    train(run, Quiet())
    assert "validation_personal" not in read_metrics(run.folder)[-1]
    private = np.fromfile(run.folder.private, np.float32).reshape(40, -1)
    assert not private[:, :-1].any()


def test_adaptation_moves_everybody_and_leaves_the_model_alone(make_run, finished):
    unadapted = make_run(response={"adapt_steps": 0})
    train(unadapted, Quiet())
    before, after = (run.store.read(np.arange(40)).offsets_BS for run in (unadapted, finished))
    moved = (after - before).abs().sum(1).numpy() > 0
    assert (moved == (finished.bench.split.train_ends >= 2)).all()
    adapted, _ = read_tensors(next(finished.folder.checkpoints.glob("*-adapted")) / "server.safetensors")
    best, same = (open_bundle(run.folder.best).weights for run in (finished, unadapted))
    assert all((adapted[f"weights/{name}"] == weight).all() for name, weight in best.items())
    assert all((same[name] == weight).all() for name, weight in best.items())


def test_data_that_changed_is_refused(make_run, world_csv, tmp_path):
    copy = tmp_path / "world.csv"
    copy.write_bytes(world_csv.read_bytes())
    run = make_run(data={"source": str(copy)})
    with copy.open("a") as stream:
        stream.write("u1,i2,99999\n")
    with pytest.raises(PfsrError, match="has changed since this run started") as caught:
        reopen_run(open_run(run.folder.root))
    assert "\n" not in str(caught.value)


def test_data_that_is_gone_is_refused(make_run, world_csv, tmp_path):
    copy = tmp_path / "world.csv"
    copy.write_bytes(world_csv.read_bytes())
    run = make_run(data={"source": str(copy)})
    copy.unlink()
    with pytest.raises(PfsrError, match="no such file"):
        reopen_run(open_run(run.folder.root))


def test_nobody_to_train_on_is_refused_and_nothing_is_written(make_config, tmp_path):
    with pytest.raises(PfsrError, match=r"lower federated\.min_events"):
        start_run(RunFolder(tmp_path / "none"), make_config(federated={"min_events": 1000}))
    assert not (tmp_path / "none").exists()


def test_a_torn_last_line_of_metrics_is_left_out_and_mended(make_run, finished):
    run = make_run()
    with pytest.raises(Interrupted):
        train(run, StopAfter(3))
    with run.folder.metrics.open("a") as stream:
        stream.write(json.dumps({"round": 4, "loss": 1.0}) + '\n{"round": 5, "lo')
    assert [line["round"] for line in read_metrics(run.folder)] == [1, 2, 3, 4]
    train(reopen_run(open_run(run.folder.root)), Quiet())
    assert outcome(run.folder) == outcome(finished.folder)


def test_leftover_temporary_files_do_no_harm(make_run, finished):
    run = make_run()
    with pytest.raises(Interrupted):
        train(run, StopAfter(3))
    leftovers = [run.folder.checkpoints / ".writing-round-00000005" / "server.safetensors"]
    leftovers += [run.folder.root / ".best.safetensors.part", run.folder.root / ".facts.json.part"]
    for path in leftovers:
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"half")
    train(reopen_run(open_run(run.folder.root)), Quiet())
    assert outcome(run.folder) == outcome(finished.folder)
    assert not any(path.exists() for path in leftovers)


def test_divergence_is_told_in_one_line(make_run):
    run = make_run(federated={"server_rate": 1e30})
    with pytest.raises(PfsrError, match=r"lower .*federated\.server_rate") as caught:
        train(run, Quiet())
    assert "\n" not in str(caught.value)


def test_scores_that_are_not_finite_are_divergence_too(make_run, monkeypatch):
    def judged(*_):
        raise NotFiniteError("weights are damaged")

    monkeypatch.setattr("pfsr.runs.train.judge", judged)
    with pytest.raises(PfsrError, match=r"round 2: training diverged, the scores .*federated\.server_rate"):
        train(make_run(), Quiet())


def test_a_run_whose_rounds_were_lost_is_not_resumed_with_wrong_sums(make_run):
    run = make_run()
    with pytest.raises(Interrupted):
        train(run, StopAfter(3))
    run.folder.metrics.write_text(json.dumps({"round": 1, "loss": 1.0}) + "\n")
    with pytest.raises(PfsrError, match="round 2 is damaged or missing"):
        train(reopen_run(open_run(run.folder.root)), Quiet())
