"""What the REST API takes and gives. Times are milliseconds since 1970; an item is its id as JSON."""

from collections.abc import Hashable
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StrictBool, StrictInt, StrictStr

from pfsr.data.catalog import Catalog
from pfsr.data.ids import encode
from pfsr.device.reasons import Reason
from pfsr.device.records import Event, Upload

BIGGEST = 2**63 - 1

Item = Annotated[
    StrictStr | StrictInt | dict[str, Any],
    Field(
        description="Item id: text, or a whole number; '1' and 1 are two items. Numbers from 2^53 on, which "
        'not every JSON reader keeps, are {"int": "0x20000000000000"}.',
        examples=["1193"],
    ),
]
Time = Annotated[
    StrictInt,
    Field(ge=-BIGGEST - 1, le=BIGGEST, description="Milliseconds since 1970.", examples=[1714557600000]),
]


class Form(BaseModel):
    """Unknown fields are refused, so that a misspelt one is not silently ignored."""

    model_config = ConfigDict(extra="forbid")


class Error(Form):
    """Why a request was refused."""

    error: str = Field(description="One line: what is wrong, and how to mend it.")


class Happened(Form):
    """Something the person did, to be recorded."""

    item: Item
    time: Time | None = Field(
        default=None, description="When; the same item at the same time is the same event. Left out: now."
    )


class Recorded(Form):
    """An event of the history."""

    seq: int = Field(description="Place in the order of arrival, from 1.")
    item: Item
    title: str = Field(description="Title, or the id as text.")
    known: bool = Field(description="Whether the catalogue has it; if not, it waits for one that does.")
    time: Time

    @classmethod
    def of(cls, event: Event, catalog: Catalog | None) -> "Recorded":
        """Return an event as the API shows it."""
        known = catalog is not None and catalog.known(event.item)
        title = catalog.title(catalog.row(event.item)) if catalog and known else str(event.item)
        return cls(seq=event.seq, item=encode(event.item), title=title, known=known, time=event.time_ms)


class History(Form):
    """A page of the history, newest first."""

    events: list[Recorded]
    total: int = Field(description="How many events there are in all pages.")
    next: int | None = Field(description="older_than of the next page; null on the last.")


class Found(Form):
    """Items that a search found."""

    items: list["Named"]


class Named(Form):
    """An item."""

    item: Item
    title: str
    had: bool = Field(description="Whether it is in the history.")


class Because(Form):
    """A past item that pushes a suggestion."""

    item: Item
    title: str
    times: float = Field(
        description="How many times as likely the suggestion is because of it.", examples=[2.4]
    )

    @classmethod
    def of(cls, reason: Reason, catalog: Catalog) -> "Because":
        """Return a reason as the API shows it."""
        return cls(
            item=item_form(catalog.item_id(reason.row)), title=catalog.title(reason.row), times=reason.times
        )


class Suggestion(Form):
    """A recommended item."""

    rank: int
    item: Item
    title: str
    score: float = Field(description="The model's score; higher is more likely next.")
    because: list[Because] | None = Field(
        default=None, description="The past items that push it most, strongest first; null unless why=true."
    )
    why: str | None = Field(
        default=None, description="The same as a sentence.", examples=["Because of “Alien”."]
    )


class Suggestions(Form):
    """What is recommended now, best first."""

    suggestions: list[Suggestion]


class Ranked(Form):
    """An item and where it stands."""

    item: Item
    title: str
    personal: int = Field(description="Rank with what was learned from the person.")
    general: int = Field(description="Rank without: what anyone with this history would get.")


class Comparison(Form):
    """How personal the model is: the best items with and without what was learned from the person."""

    personal: list[Ranked]
    general: list[Ranked]
    only_here: int = Field(description="How many of the personal best are not among the general best.")
    learned: bool = Field(description="Whether anything was learned yet.")
    summary: str


class Lesson(Form):
    """How long to learn."""

    steps: int = Field(4, ge=1, le=1_000, description="The most steps.")
    seconds: float = Field(20.0, gt=0, le=600, description="No step begins after so long.")


class Learned(Form):
    """What learning did."""

    steps: int
    events: int = Field(description="Events of the history, of items that the catalogue knows.")
    loss_before: float = Field(description="Mean loss per event, in nats.")
    loss_after: float
    kept: bool = Field(description="Whether the result is in use; not if model or data changed meanwhile.")


class Learning(Form):
    """Whether the device may learn."""

    paused: StrictBool


class Sent(Form):
    """Something that left this device."""

    time: Time
    bytes: int
    fields: list[str] = Field(description="What the message held.")
    model_version: str

    @classmethod
    def of(cls, upload: Upload) -> "Sent":
        """Return an upload as the API shows it."""
        return cls(
            time=upload.time_ms,
            bytes=upload.bytes,
            fields=list(upload.fields),
            model_version=upload.model_version,
        )


class Uploads(Form):
    """What has ever left this device, newest first."""

    uploads: list[Sent]
    bytes: int = Field(description="All of them together.")


class Forgotten(Form):
    """What was erased."""

    events: int


class Confirmed(Form):
    """That erasing everything is meant."""

    confirm: Literal["forget everything"] = Field(description="Exactly these words.")


class Standpoint(Form):
    """Where the device stands."""

    model_version: str | None = Field(description="Of the model that answers; null: there is none yet.")
    previous_version: str | None = Field(description="Of the model before it.")
    items: int = Field(description="In the model's catalogue.")
    events: int
    waiting: int = Field(
        description="Events of items that the catalogue does not know; kept for a newer one."
    )
    lessons: int = Field(description="How often was learned since there are offsets; 0: the general model.")
    learning: bool = Field(description="Whether a lesson is under way.")
    paused: bool = Field(description="Whether learning is paused.")


def item_form(item: Hashable) -> Any:
    """Return an item id as JSON can hold it, exactly."""
    return encode(item)
