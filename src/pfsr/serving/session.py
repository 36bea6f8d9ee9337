"""What a running server shares among its requests: the device, and that it learns once at a time."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Annotated, cast

from fastapi import Depends, HTTPException, Request

from pfsr.device.device import Device
from pfsr.device.records import ItemId
from pfsr.serving.titles import TitleSearch


@dataclass(frozen=True)
class Session:
    """One start of the server.

    Attributes:
        device: the person's.
        titles: finds items.
        closing: set once the server is to stop; learning then ends after its step.
    """

    device: Device
    titles: TitleSearch = field(default_factory=TitleSearch)
    closing: threading.Event = field(default_factory=threading.Event)
    _learning: threading.Lock = field(default_factory=threading.Lock)

    @property
    def learning(self) -> bool:
        """Whether a lesson is under way."""
        return self._learning.locked()

    @contextmanager
    def lesson(self) -> Iterator[None]:
        """Hold off other lessons; one that is asked for meanwhile is refused, not queued."""
        if not self._learning.acquire(blocking=False):
            raise HTTPException(409, "the device is learning already; wait for it")
        try:
            yield
        finally:
            self._learning.release()

    def item(self, text: str) -> ItemId:
        """Return the item that a text in an address means: itself, or a number where only that is known."""
        try:
            number = int(text)
        except ValueError:
            return text
        known, catalog = {event.item for event in self.device.events()}, self.device.catalog
        if text in known or (catalog and catalog.known(text)):
            return text
        return number if number in known or (catalog and catalog.known(number)) else text


def _session(request: Request) -> Session:
    return cast(Session, request.app.state.session)


Here = Annotated[Session, Depends(_session)]
"""The parameter by which an endpoint gets the session."""
