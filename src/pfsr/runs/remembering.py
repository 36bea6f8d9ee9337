"""The memory of pairs of a run: what everybody who can train has in their training events, summed up."""

from functools import cached_property
from typing import NamedTuple

from pfsr.config import Config
from pfsr.federated.cohort import eligible
from pfsr.federated.pairs import own_pairs, pair_bytes, remember
from pfsr.model.memory import PairMemory
from pfsr.runs.judging import Bench


class Counted(NamedTuple):
    """A memory, and what was sent for it (bytes, everybody together)."""

    memory: PairMemory | None
    sent: int


class Remembering:
    """What the people of a run remember in pairs, counted when it is first asked for: that takes a moment."""

    def __init__(self, bench: Bench, config: Config) -> None:
        self._bench, self._config = bench, config

    @property
    def memory(self) -> PairMemory | None:
        """The memory; None where it is off."""
        return self._counted.memory

    def facts(self) -> dict[str, int]:
        """Return what to write down: pairs kept, and what the average person sent and got for them."""
        memory, sent = self._counted
        if memory is None:
            return {}
        got = sum(array.nbytes for array in memory.arrays().values())
        sent = round(sent / len(self._bench.dataset.sequences))
        return {"pairs": len(memory.following), "pairs_sent_bytes": sent, "pairs_received_bytes": got}

    @cached_property
    def _counted(self) -> Counted:
        if self._config.memory.mode == "off":
            return Counted(None, 0)
        sequences, ends = self._bench.dataset.sequences, self._bench.split.train_ends
        people = eligible(ends, self._config.federated.min_events)
        everybody = [own_pairs(sequences.history(int(person), int(ends[person]))) for person in people]
        sent = sum(pair_bytes(len(pairs.first_n)) for pairs in everybody)
        return Counted(remember(everybody, len(self._bench.dataset.catalog), self._config), sent)
