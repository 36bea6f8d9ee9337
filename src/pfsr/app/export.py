"""``pfsr export``: a bundle becomes a device model, which runs without PyTorch."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from pfsr.app.place import Place
from pfsr.device.manifest import Table
from pfsr.device.ranking import Told
from pfsr.export.folder import Exported, export_model
from pfsr.model.bundle import open_bundle, read_adaptation
from pfsr.runs.folder import RunFolder
from pfsr.runs.watcher import say


def export(bundle: Path, *, out: Place, table: Table = "float32") -> None:
    """Write a bundle as a device model: ONNX graphs, weights, catalogue and a manifest.

    Parameters
    ----------
    bundle
        A bundle (.safetensors), or a run folder, whose best bundle is taken.
    out
        The folder to write; it must not exist yet.
    table
        How the item table is stored: float16 halves it, int8 quarters it, at a loss that is shown.
    """
    console = Console()
    path = RunFolder(bundle).best if bundle.is_dir() else bundle
    model, adaptation = open_bundle(path), read_adaptation(path)
    with _shown(console) as tell:
        written = export_model(model, out, table, adaptation, tell)
    _tell(console, written, out)


@contextmanager
def _shown(console: Console) -> Iterator[Told]:
    """Show that something happens, and how far the index of a large catalogue is."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("exporting", total=None)

        def tell(done: int, total: int) -> None:
            progress.update(task, description="index of the items", completed=done, total=total)

        yield tell


def _tell(console: Console, written: Exported, out: Path) -> None:
    manifest, loss = written.manifest, written.loss
    say(
        console,
        f"device model {manifest.model_version}: {manifest.items:,} items, {written.size / 1e6:.1f} MB",
    )
    say(console, f"scores differ from PyTorch's by {written.difference:.0e} of their size")
    if manifest.table != "float32":
        say(
            console,
            f"{manifest.table} table, after random histories: scores differ by {loss.scores:.2%} of their "
            f"spread; {loss.top10:.1%} of the best 10 items are others",
        )
    if manifest.index:
        say(console, f"index of the items: recall@10 {manifest.index.recall:.3f}, after random histories")
    if manifest.memory:
        say(
            console,
            "a memory of pairs goes along; with one every item is ranked, without an index",
        )
    if manifest.adaptation is None:
        say(console, "the bundle does not say how to adapt to a person; devices will by the defaults")
    say(console, f"folder   {out}")
    say(console, f"next     pfsr device serve FOLDER --model {out}")
