"""Everything there is about a person, as JSON can hold it: what ``export`` hands over."""

import base64
from collections.abc import Sequence
from typing import Any

from pfsr.device.records import Event, Offsets, Stamp, Upload


def portrait(
    events: Sequence[Event],
    offsets: Offsets | None,
    state: tuple[bytes, Stamp] | None,
    uploads: Sequence[Upload],
    settings: dict[str, Any],
) -> dict[str, Any]:
    """Return all of it."""
    return {
        "events": [_event(event) for event in events],
        "offsets": _offsets(offsets) if offsets else None,
        "state": _state(*state) if state else None,
        "uploads": [upload._asdict() for upload in uploads],
        "settings": settings,
    }


def _event(event: Event) -> dict[str, Any]:
    return {"seq": event.seq, "item": event.item, "time_ms": event.time_ms, "time_given": event.given}


def _offsets(offsets: Offsets) -> dict[str, Any]:
    lists = {"offsets_S": offsets.offsets_S.tolist(), "fisher_S": offsets.fisher_S.tolist()}
    return {**offsets._asdict(), **lists}


def _state(blob: bytes, stamp: Stamp) -> dict[str, Any]:
    return {**stamp._asdict(), "base64": base64.b64encode(blob).decode()}
