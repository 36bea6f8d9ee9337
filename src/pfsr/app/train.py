"""``pfsr train``: learn federatedly, judge, report."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter
from pydantic import model_validator
from rich.console import Console

from pfsr.app.place import Place
from pfsr.config import Config, ModelConfig, ResponseConfig
from pfsr.errors import PfsrError
from pfsr.recipe import merge, read_recipe, resolve
from pfsr.runs.conclude import evaluate_run, report_run, results_table
from pfsr.runs.folder import new_run, open_run
from pfsr.runs.train import Interrupted, Run, reopen_run, start_run
from pfsr.runs.train import train as train_run
from pfsr.runs.watcher import LiveBar, say, tracked
from pfsr.simulation.allocator import keep_freed_memory


class GivenModel(ModelConfig):
    """The model's settings as far as the command line names them; whole only together with the recipe's."""

    @model_validator(mode="after")
    def _heads_divide_width(self) -> "GivenModel":
        return self


class GivenResponse(ResponseConfig):
    """The response's settings as far as the command line names them."""

    @model_validator(mode="after")
    def _steps_fit_their_mode(self) -> "GivenResponse":
        return self


class Given(Config):
    """The settings that the command line names, each checked alone; ``resolve`` checks the whole."""

    # Sections are frozen, so a narrower type is safe.
    model: GivenModel = GivenModel()  # pyright: ignore[reportIncompatibleVariableOverride]
    response: GivenResponse = GivenResponse()  # pyright: ignore[reportIncompatibleVariableOverride]

    @model_validator(mode="after")
    def _central_has_no_clients(self) -> "Given":
        return self


def train(
    recipe: Path | None = None,
    *,
    data: Annotated[str | None, Parameter(name="--data", accepts_keys=False)] = None,
    out: Place | None = None,
    resume: Path | None = None,
    overwrite: bool = False,
    settings: Annotated[Given, Parameter(name="*")] = Given(),  # noqa: B008 - frozen
) -> None:
    """Train a recommender federatedly on one machine: every person is a client, one round at a time.

    Ctrl-C stops after the round; --resume goes on as if nothing had happened.

    Parameters
    ----------
    recipe
        A TOML file of settings, e.g. recipes/ml-1m.toml; or the config.json of a run, to repeat it.
    data
        Short for --data.source: a file, or a named source (synthetic, ml-100k, ml-1m).
    out
        The run folder to make (default: runs/NAME).
    resume
        A run folder to continue; no other setting may be given.
    overwrite
        Replace the run folder if there is one.
    """
    console = Console()
    keep_freed_memory()
    given = settings.model_dump(exclude_unset=True)
    if resume is not None:
        if recipe or data or out or overwrite or given:
            raise PfsrError("--resume goes on with the run's own settings; give nothing else")
        run = reopen_run(open_run(resume))
    else:
        shorthand = {"data": {"source": data}} if data else {}
        config = resolve(
            read_recipe(recipe) if recipe else {}, merge(given, shorthand), origin=str(recipe or "settings")
        )
        run = start_run(new_run(out or Path("runs") / config.name, overwrite), config)
    _introduce(run, console)
    _follow(run, console)
    _conclude(run, console)


def _introduce(run: Run, console: Console) -> None:
    dataset, split = run.bench.dataset, run.bench.split
    say(
        console,
        f"{dataset.name}: {len(dataset.sequences):,} people, {len(dataset.catalog):,} items, "
        f"{len(dataset.sequences.items):,} events; {split.kind} split {split.digest}",
    )
    say(console, f"run folder {run.folder.root}")


def _follow(run: Run, console: Console) -> None:
    bar = LiveBar(console)
    watcher = tracked(bar, run.config.track, run.folder.curves)
    try:
        with bar:
            train_run(run, watcher)
    except Interrupted:
        say(console, f"stopped; go on with: pfsr train --resume {run.folder.root}")
        raise SystemExit(130) from None


def _conclude(run: Run, console: Console) -> None:
    with console.status("evaluating") as status:
        results = evaluate_run(run, told=lambda what: status.update(f"evaluating {what}"))
        report = report_run(run.folder, results)
    console.print(results_table(results["test"], f"{run.bench.dataset.name}, test"))
    say(console, f"report   {report}\nbundle   {run.folder.best}")
    say(console, f"next     pfsr recommend {run.folder.root}")
