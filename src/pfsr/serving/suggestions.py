"""Endpoints for what the model makes of the history: recommendations, reasons, how personal they are."""

from typing import Annotated, NamedTuple

from fastapi import APIRouter, Query

from pfsr.data.catalog import Catalog
from pfsr.device.reasons import Reason, in_words, reasons
from pfsr.device.reports import Recommendation
from pfsr.serving.forms import Because, Comparison, Ranked, Suggestion, Suggestions, item_form
from pfsr.serving.session import Here, Session
from pfsr.serving.standing import Place, compare

router = APIRouter(tags=["suggestions"])
Best = Annotated[int, Query(ge=1, le=500, description="How many.")]


class _Told(NamedTuple):
    because: list[Because] | None
    why: str | None


@router.get("/recommendations")
def recommendations(
    here: Here,
    k: Best = 10,
    exclude: Annotated[list[str], Query(description="Items to leave out; may be given again.")] = [],  # noqa: B006
    why: Annotated[
        bool, Query(description="Also tell the reasons, which takes up to half a second.")
    ] = False,
) -> Suggestions:
    """Return the best next items, best first, without those in the history."""
    found = here.device.recommend(k, exclude=[here.item(text) for text in exclude])
    told = _reasons(here, found) if why else [_Told(None, None)] * len(found)
    return Suggestions(
        suggestions=[
            Suggestion(
                rank=rank, item=item_form(one.item_id), title=one.title, score=one.score, **reason._asdict()
            )
            for rank, (one, reason) in enumerate(zip(found, told, strict=True), start=1)
        ]
    )


@router.get("/comparison")
def comparison(here: Here, k: Best = 10) -> Comparison:
    """Rank the same history with what was learned from the person, and without, side by side."""
    snapshot = here.device.snapshot()
    catalog, standing = snapshot.runtime.catalog, compare(snapshot, k)
    return Comparison(
        personal=[_ranked(place, catalog) for place in standing.personal],
        general=[_ranked(place, catalog) for place in standing.general],
        only_here=standing.only_here,
        learned=standing.learned,
        summary=standing.in_words(),
    )


def _reasons(here: Session, found: list[Recommendation]) -> list[_Told]:
    """Return the reasons; an item that a model change has just removed has none."""
    snapshot = here.device.snapshot()
    catalog = snapshot.runtime.catalog
    rows = [catalog.row(one.item_id) for one in found if catalog.known(one.item_id)]
    told = dict(zip(rows, reasons(snapshot, rows), strict=True))
    return [
        _told(
            told[catalog.row(one.item_id)] if catalog.known(one.item_id) else [], catalog, bool(snapshot.rows)
        )
        for one in found
    ]


def _told(found: list[Reason], catalog: Catalog, history: bool) -> _Told:
    because = [Because.of(reason, catalog) for reason in found]
    return _Told(because, in_words([one.title for one in because], history))


def _ranked(place: Place, catalog: Catalog) -> Ranked:
    item, title = item_form(catalog.item_id(place.row)), catalog.title(place.row)
    return Ranked(item=item, title=title, personal=place.personal, general=place.general)
