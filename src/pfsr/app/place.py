"""``--out``: where a command may write."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter, Token


def _named(wanted: Any, tokens: Sequence[Token]) -> Path:
    """Refuse an empty name: an unset variable of a shell would mean the working folder."""
    if not tokens[0].value:
        raise ValueError("it is empty; name a folder")
    return Path(tokens[0].value)


Place = Annotated[Path, Parameter(converter=_named)]
"""A folder that a person has named."""
