"""What a smaller item table costs on real people: the global model of a run, as a device computes it.

Everybody's test event is ranked by the bundle with its table as ``pfsr export`` stores it. The table takes
part twice: histories are embedded with it and items are scored with it. Ranks are those of the evaluation
(whole catalogue, seen items left out, ties against the model), so float32 gives the run's own global figures.
Without a run, one is trained on the built-in synthetic world, which shows that it works and nothing else.
"""

import tempfile
from pathlib import Path
from typing import get_args

import numpy as np
from cyclopts import App
from measure import prepare, show

from pfsr import train
from pfsr.data import load_config
from pfsr.data.split import split
from pfsr.device.manifest import Table
from pfsr.evaluation.evaluate import Evaluation
from pfsr.evaluation.intervals import bootstrap
from pfsr.export.tables import stored_table, with_table
from pfsr.model.bundle import open_bundle
from pfsr.model.encoder import ITEMS
from pfsr.recipe import read_recipe, resolve
from pfsr.runs.folder import RunFolder, open_run
from pfsr.runs.judging import Bench, judge, some_of
from pfsr.runs.scoring import ModelScorer

app = App(help=__doc__)

COLUMNS = ("table", "kB", "HR@10", "NDCG@10", "lost (95 %)", "other ranks")


@app.default
def main(run: Path | None = None, *, people: int = 10**9, rounds: int = 150) -> None:
    """Measure.

    Parameters
    ----------
    run
        The folder of a finished run.
    people
        At most so many people, drawn at random.
    rounds
        Without a run: rounds to train on the synthetic world.
    """
    prepare()
    with tempfile.TemporaryDirectory() as place:
        _measure(open_run(run or _trained(Path(place) / "run", rounds)), people)


def _trained(place: Path, rounds: int) -> Path:
    train("synthetic", {"federated": {"rounds": rounds, "cohort": 64}}, out=place)
    return place


def _measure(folder: RunFolder, people: int) -> None:
    config, model = resolve(read_recipe(folder.config)), open_bundle(folder.best)
    dataset = load_config(config.data)
    bench = Bench(dataset, split(dataset.sequences, config.data.split))
    targets = some_of(bench.split.test, people, config.seed)
    found: dict[str, tuple[int, Evaluation]] = {}
    for table in get_args(Table):
        stored = stored_table(model.weights[ITEMS].numpy(), table)
        scorer = ModelScorer(table, with_table(model, stored), config.evaluation.window)
        found[table] = sum(part.nbytes for part in stored.values()), judge(bench, scorer, targets)
    whole = found["float32"][1]
    title = f"{config.name}, the global model, {len(targets):,} people"
    show(title, COLUMNS, [_row(table, *one, whole) for table, one in found.items()])


def _row(table: str, size: int, here: Evaluation, whole: Evaluation) -> list[str]:
    lost = bootstrap(whole.per_person()["NDCG@10"] - here.per_person()["NDCG@10"])
    metrics = here.metrics()
    scores = [f"{metrics[name]:.5f}" for name in ("HR@10", "NDCG@10")]
    told = f"{lost.mean:.5f} ({lost.low:.5f} to {lost.high:.5f})"
    return [table, f"{size / 1000:,.0f}", *scores, told, f"{np.mean(here.ranks != whole.ranks):.1%}"]


if __name__ == "__main__":
    app()
