"""The bundle of a run tells devices what they need to learn as the run did."""

from pfsr.model.adaptation import Adaptation
from pfsr.model.bundle import read_adaptation
from pfsr.runs.checkpoint import load_checkpoint


def test_a_finished_run_tells_devices_its_spread_and_settings(finished):
    state, _ = load_checkpoint(finished.folder.checkpoints, finished.store)
    told = read_adaptation(finished.folder.best)
    assert told == Adaptation.of(finished.config, state.round, state.spread_G.tolist())
    assert len(set(told.spread)) > 1
