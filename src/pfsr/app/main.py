"""The ``pfsr`` command."""

import sys
from collections.abc import Sequence

from cyclopts import App, CycloptsError
from pydantic import ValidationError
from rich.console import Console

from pfsr.errors import PfsrError
from pfsr.recipe import explain

app = App(
    name="pfsr",
    help="Personalized federated sequential recommender: learns from everybody, keeps histories on devices.",
    help_epilogue="Start with: pfsr train recipes/demo.toml",
    suppress_keyboard_interrupt=False,
)
for command, about in {
    "train": "Train a recommender federatedly on one machine: every person is a client, one round at a time.",
    "evaluate": "Rank the held-out events against the whole catalogue, and rewrite the run's report.",
    "recommend": "Show the best next items for a person of a run, or for anyone's list of items.",
    "compare": "Compare methods on the same split: a table with intervals, slices and costs, and a report.",
    "data": "Look at data before training on it.",
    "export": "Write a bundle as a device model: ONNX graphs, weights, catalogue and a manifest.",
    "device": "Look after the folder that a device keeps of one person, and serve its page.",
}.items():
    # Named, not imported: `pfsr device` runs where there is no PyTorch.
    app.command(f"pfsr.app.{command}:{command}", name=command, help=about)


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
