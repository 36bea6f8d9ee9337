"""What a report is made of. Any part may be missing; the report then leaves out what it would show."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Any

from pfsr.evaluation.result import Evaluation


@dataclass(frozen=True)
class ReportContent:
    """One run, ready to be told.

    Attributes:
        title: the heading.
        config: the resolved configuration, section by section.
        facts: what happened, in the order to be shown. ``people``, ``items``, ``events``,
            ``wall_seconds``, ``peak_memory_bytes`` and ``clients_trained`` are also read for the
            summary and the cost table.
        rounds: one mapping per round: ``round``, ``loss``, ``clients``, ``seconds``, ``bytes_up`` and
            ``bytes_down`` (of all the round's clients together), and where the model was looked at
            ``validation`` and ``validation_personal`` (metric name -> value).
        evaluations: split part -> methods judged on it. The methods called ``global`` and ``personal``
            are compared person by person; ``test`` supplies the headline.
        command: how to reproduce the run, one shell line ("" leaves it out).
    """

    title: str
    config: dict[str, Any] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)
    rounds: list[dict[str, Any]] = field(default_factory=list)
    evaluations: dict[str, list[Evaluation]] = field(default_factory=dict)
    command: str = ""

    @property
    def part(self) -> str:
        """The split part that the figures and the headline show: ``test``, else the first one."""
        return "test" if "test" in self.evaluations else next(iter(self.evaluations), "")

    @property
    def methods(self) -> list[Evaluation]:
        """The evaluations of :attr:`part`."""
        return self.evaluations.get(self.part, [])

    def method(self, name: str) -> Evaluation | None:
        """Return the shown evaluation called ``name``, if there is one."""
        return next((one for one in self.methods if one.name == name), None)

    @property
    def learned(self) -> list[Evaluation]:
        """The global and the personal evaluation, those that are there."""
        return [one for one in (self.method("global"), self.method("personal")) if one]

    @property
    def pair(self) -> tuple[Evaluation, Evaluation] | None:
        """The personal and the global evaluation, where both are there."""
        return (self.learned[1], self.learned[0]) if len(self.learned) == 2 else None

    @property
    def best(self) -> Evaluation | None:
        """The method the headline is about: personal, else global, else the last one."""
        return ([*self.methods, *self.learned] or [None])[-1]

    def traffic(self) -> list[float]:
        """Return megabytes (1e6 bytes, both ways) the average person has moved by the end of each round, with
        what a memory of pairs took before.

        Empty where bytes or the number of people are not known, and where nothing moved (central training).
        """
        people = self.facts.get("people")
        if not people or not all("bytes_up" in one and "bytes_down" in one for one in self.rounds):
            return []
        totals = list(accumulate(one["bytes_up"] + one["bytes_down"] for one in self.rounds))
        before = traffic_before(self.facts)
        return [(before + total / people) / 1e6 for total in totals] if any(totals) else []


def traffic_before(facts: Mapping[str, Any]) -> int:
    """Return the bytes a person moves before the first round, both ways: a memory of pairs takes some."""
    return facts.get("pairs_sent_bytes", 0) + facts.get("pairs_received_bytes", 0)
