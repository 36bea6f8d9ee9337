"""The ``pfsr`` command."""

import sys
from collections.abc import Sequence

from cyclopts import App, CycloptsError
from pydantic import ValidationError
from rich.console import Console

from pfsr.app.compare import compare
from pfsr.app.data import data
from pfsr.app.device import device
from pfsr.app.evaluate import evaluate
from pfsr.app.export import export
from pfsr.app.recommend import recommend
from pfsr.app.train import train
from pfsr.config import explain
from pfsr.errors import PfsrError

app = App(
    name="pfsr",
    help="Personalized federated sequential recommender: learns from everybody, keeps histories on devices.",
    help_epilogue="Start with: pfsr train recipes/demo.toml",
)
for command in (train, evaluate, recommend, compare, data, export, device):
    app.command(command)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line; bad input is one line on standard error and status 1 (2 for wrong usage)."""
    try:
        app(arguments, exit_on_error=False, print_error=False)
    except CycloptsError as error:
        _fail(_usage(error), 2)
    except PfsrError as error:
        _fail(str(error), 1)
    except KeyboardInterrupt:
        _fail("interrupted", 130)
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(141)
    except OSError as error:
        _fail(f"{error.filename or 'disk'}: {error.strerror or error}", 1)


def _usage(error: CycloptsError) -> str:
    cause = error.__cause__ or error.__context__
    if isinstance(cause, ValidationError):
        return explain(cause, "command line")
    return " ".join(str(error).split()) + " (see --help)"


def _fail(message: str, status: int) -> None:
    Console(stderr=True, soft_wrap=True).print(f"[bold red]error:[/] {_plain(message)}", highlight=False)
    sys.exit(status)


def _plain(message: str) -> str:
    return message.replace("[", r"\[")


if __name__ == "__main__":
    main()
