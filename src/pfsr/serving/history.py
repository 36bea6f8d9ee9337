"""Endpoints for what the person did: record, look, find, forget."""

import json
from typing import Annotated

from fastapi import APIRouter, HTTPException, Query, Response

from pfsr.data.catalog import Catalog
from pfsr.data.ids import decode
from pfsr.device.records import Event, ItemId, check_event
from pfsr.errors import PfsrError
from pfsr.serving.forms import (
    BIGGEST,
    Confirmed,
    Forgotten,
    Found,
    Happened,
    History,
    Named,
    Recorded,
    item_form,
)
from pfsr.serving.session import Here
from pfsr.serving.titles import folded

router = APIRouter()


@router.post("/events", status_code=201, tags=["history"])
def record(happened: Happened, here: Here, response: Response) -> Recorded:
    """Record that the person did something.

    It counts for the next recommendation at once, and is on disk some 50 ms later. Status 200 instead of 201:
    the same item at the same time was recorded before, and is kept once.
    """
    event = here.device.record(_item(happened), happened.time)
    response.status_code = 200 if event.duplicate else 201
    return Recorded.of(event, here.device.catalog)


@router.get("/events", tags=["history"])
def history(
    here: Here,
    limit: Annotated[int, Query(ge=1, le=500)] = 50,
    older_than: Annotated[int | None, Query(description="Only events with a smaller seq.")] = None,
    search: Annotated[str, Query(max_length=200, description="Words of the title.")] = "",
) -> History:
    """Return the history, newest first, a page at a time."""
    catalog = here.device.catalog
    found = [event for event in here.device.events()[::-1] if _matches(event, search, catalog)]
    rest = [event for event in found if older_than is None or event.seq < older_than]
    page = rest[:limit]
    more = page[-1].seq if len(rest) > len(page) else None
    return History(events=[Recorded.of(event, catalog) for event in page], total=len(found), next=more)


@router.get("/items", tags=["history"])
def items(
    here: Here,
    search: Annotated[str, Query(max_length=200, description="Words of the title, or an id.")],
    limit: Annotated[int, Query(ge=1, le=100)] = 8,
) -> Found:
    """Find items of the catalogue."""
    if (catalog := here.device.catalog) is None:
        return Found(items=[])
    had = {event.item for event in here.device.events()}
    rows = here.titles.find(catalog, search, limit)
    named = [(catalog.item_id(row), catalog.title(row)) for row in rows]
    return Found(items=[Named(item=item_form(item), title=title, had=item in had) for item, title in named])


@router.delete("/events", tags=["history"])
def forget(
    here: Here,
    item: Annotated[
        str | None, Query(description="Item id; a number is meant only where no such text is known.")
    ] = None,
    item_json: Annotated[str | None, Query(description='Item id as JSON, exactly: "1193" or 1193.')] = None,
    before: Annotated[
        int | None, Query(ge=-BIGGEST - 1, le=BIGGEST, description="Milliseconds since 1970.")
    ] = None,
) -> Forgotten:
    """Erase all events of one item, or all before a time, from every file; give exactly one of the three."""
    if sum(given is not None for given in (item, item_json, before)) != 1:
        raise HTTPException(422, "give exactly one of item, item_json, before")
    if before is not None:
        return Forgotten(events=here.device.forget(before=before))
    meant = _item(_parsed(item_json)) if item_json is not None else here.item(item or "")
    return Forgotten(events=here.device.forget(item=meant))


@router.delete("/everything", tags=["history"])
def forget_everything(_: Confirmed, here: Here) -> Forgotten:
    """Erase all events, what was learned from them and the list of uploads, from every file."""
    return Forgotten(events=here.device.forget(everything=True))


def _parsed(item_json: str) -> Happened:
    try:
        return Happened.model_validate({"item": json.loads(item_json)})
    except ValueError:
        raise HTTPException(422, f"item_json {item_json!r:.60}: expected an item id as JSON") from None


def _item(happened: Happened) -> ItemId:
    try:
        item = decode(happened.item)
        check_event(item, happened.time)
    except PfsrError as error:
        raise HTTPException(422, str(error)) from None
    assert isinstance(item, str | int)
    return item


def _matches(event: Event, search: str, catalog: Catalog | None) -> bool:
    if not search.strip():
        return True
    title = folded(Recorded.of(event, catalog).title)
    return all(word in title for word in folded(search).split())
