"""``pfsr device``: look after the folder that a device keeps of one person."""

from pathlib import Path

from cyclopts import App
from rich.console import Console

from pfsr.device.schema import FILE
from pfsr.device.store import Store
from pfsr.errors import PfsrError
from pfsr.runs.watcher import say

device = App(name="device", help="Look after the folder that a device keeps of one person.")


@device.command
def repair(folder: Path) -> None:
    """Save every event that is whole from a damaged folder; the damaged files stay beside it.

    Parameters
    ----------
    folder
        The person's folder, the one that the error named. No other program may have it open.
    """
    if not any(folder.glob(f"{FILE}*")):
        raise PfsrError(f"{folder}: no {FILE} here; give the folder that the device was opened with")
    with Store.repair(folder) as store:
        say(Console(), f"saved    {store.count:,} events")
    say(Console(), f"folder   {folder}; what was damaged lies there as {FILE}.damaged*")
