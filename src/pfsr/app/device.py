"""``pfsr device``: look after the folder that a device keeps of one person."""

import webbrowser
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import App, Parameter
from cyclopts.validators import Number
from rich.console import Console

from pfsr.device.schema import FILE
from pfsr.device.store import Store
from pfsr.errors import PfsrError

if TYPE_CHECKING:
    from collections.abc import Callable

device = App(
    name="device",
    help="Look after the folder that a device keeps of one person, and serve its page.",
    help_epilogue="Start with: pfsr export BUNDLE --out MODEL, then: pfsr device serve FOLDER --model MODEL",
)


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
        _say(f"saved    {store.count:,} events")
    _say(f"folder   {folder}; what was damaged lies there as {FILE}.damaged*")


@device.command
def serve(
    folder: Path,
    *,
    model: Path | None = None,
    port: Annotated[int, Parameter(validator=Number(gte=0, lte=65_535))] = 8765,
    open_: Annotated[bool, Parameter(name="--open", negative="")] = False,
) -> None:
    """Serve the person's own page and a REST API, on this machine only, until Ctrl-C.

    Parameters
    ----------
    folder
        The person's folder; it is made if --model is given.
    model
        A device model (what pfsr export wrote) to use from now on. By default the one of last time.
    port
        The port on 127.0.0.1; 0 takes any that is free.
    open_
        Open the page in the browser.
    """
    if model is None and not (folder / FILE).exists():
        raise PfsrError(f"{folder}: nobody's folder yet; give --model a folder that pfsr export wrote")

    def ready(address: str) -> None:
        _say(f"page     {address}")
        _say("The address lets in whoever has it, until this stops. Ctrl-C stops and keeps everything.")
        if open_:
            webbrowser.open(address)

    _server()(folder, model, port, ready)
    _say(f"closed   every event is on disk in {folder}")


def _say(text: str) -> None:
    """Print a line as it is. Not ``runs.watcher.say``, which brings PyTorch along."""
    Console(markup=False, highlight=False, soft_wrap=True).print(text)


def _server() -> "Callable[[Path, Path | None, int, Callable[[str], None]], None]":
    try:
        from pfsr.serving.server import serve as run
    except ModuleNotFoundError as error:
        if error.name not in ("fastapi", "starlette", "uvicorn"):
            raise
        raise PfsrError("the page needs FastAPI and uvicorn: pip install 'pfsr[serve]'") from None
    return run
