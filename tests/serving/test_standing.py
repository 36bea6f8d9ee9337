"""Personal and general ranks of the same history, a memory of pairs included."""

import numpy as np

from pfsr.config import ModelConfig
from pfsr.data.catalog import Catalog
from pfsr.device.reports import Snapshot
from pfsr.device.runtime import Runtime
from pfsr.export.folder import export_model
from pfsr.model.encoder import init_weights
from pfsr.model.memory import PairMemory
from pfsr.model.recommender import Recommender
from pfsr.serving.standing import compare

ITEMS = 12


def test_what_the_newest_event_calls_to_mind_comes_first_in_both(tmp_path):
    config = ModelConfig(d_model=16, heads=2, d_state=4, blocks=1)
    starts, totals = np.repeat([0, 1], [4, ITEMS - 2]), np.zeros(ITEMS + 1, np.float32)
    totals[3] = 9
    pairs = PairMemory(starts, np.array([8], np.int32), np.array([9], np.float32), totals, 1.0, 0.9)
    catalog = Catalog(tuple(f"item-{n}" for n in range(ITEMS)))
    export_model(Recommender(config, catalog, init_weights(config, ITEMS, seed=0), pairs), tmp_path / "model")
    runtime = Runtime.open(tmp_path / "model")
    found = compare(Snapshot(runtime, np.zeros(runtime.sites.total, np.float32), [1, 2, 3]), 5)
    assert found.personal == found.general
    assert found.personal[0].row == 8
    older = compare(Snapshot(runtime, np.zeros(runtime.sites.total, np.float32), [3, 1, 2, 4]), 5)
    assert older.personal != found.personal
