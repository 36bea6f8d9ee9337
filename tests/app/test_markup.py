"""Data is shown as it is: what looks like markup in titles and ids is text."""

import polars as pl
from rich.console import Console

from pfsr.app.recommend import _table


def test_a_title_with_brackets_is_shown_whole():
    frame = pl.DataFrame({"rank": [1], "item_id": ["[b]7"], "title": ["[REC] 2 [/x]"], "score": [0.5]})
    console = Console(width=100, record=True)
    console.print(_table(frame, "person [/y] after 3 events"))
    told = console.export_text()
    for text in ("[b]7", "[REC] 2 [/x]", "person [/y] after 3 events"):
        assert text in told
