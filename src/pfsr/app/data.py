"""``pfsr data``: look at data before training on it."""

from typing import Annotated

from cyclopts import App, Parameter, validators
from rich.console import Console

from pfsr.config import DataConfig
from pfsr.data import describe, load, read_events

data = App(name="data", help="Look at data before training on it.")

_DEFAULT = DataConfig()


@data.command
def info(
    source: str,
    *,
    core: Annotated[int, Parameter(validator=validators.Number(gte=0))] = 0,
    user_column: Annotated[str, Parameter(alias="--data.user-column")] = _DEFAULT.user_column,
    item_column: Annotated[str, Parameter(alias="--data.item-column")] = _DEFAULT.item_column,
    time_column: Annotated[str, Parameter(alias="--data.time-column")] = _DEFAULT.time_column,
) -> None:
    """Show people, items, events, lengths, time span, ties and repeats of a data set.

    Parameters
    ----------
    source
        A file (csv, tsv, .gz, parquet, u.data, ratings.dat, .inter) or a named source (synthetic, ml-1m).
    core
        Apply this k-core filter first (training uses 5 by default; 0: none).
    user_column
        The column that says who.
    item_column
        The column that says what.
    time_column
        The column that says when.
    """
    columns = {"user_id": user_column, "item_id": item_column, "timestamp": time_column}
    found = load(source, columns=columns, core=core) if core else read_events(source, columns)
    Console().print(describe(found))
