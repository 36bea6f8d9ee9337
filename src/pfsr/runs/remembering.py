"""The memory of pairs of a run: what everybody who can train has in their training events, summed up."""

from typing import NamedTuple

from pfsr.config import Config
from pfsr.federated.cohort import eligible
from pfsr.federated.pairs import own_pairs, pair_bytes, remember
from pfsr.model.memory import PairMemory
from pfsr.runs.judging import Bench


class Remembered(NamedTuple):
    """A memory, and what it took.

    Attributes:
        memory: of the run's people; None where it is off.
        bytes_up: sent for it, by everybody together.
    """

    memory: PairMemory | None = None
    bytes_up: int = 0

    def facts(self) -> dict[str, int]:
        """Return what to write down of it: pairs kept, bytes up from all together and down to each person."""
        if self.memory is None:
            return {}
        down = sum(array.nbytes for array in self.memory.arrays().values())
        return {
            "pairs": len(self.memory.following),
            "pairs_bytes_up": self.bytes_up,
            "pairs_bytes_down": down,
        }


def remembered(bench: Bench, config: Config) -> Remembered:
    """Return what the people of a run remember in pairs: of their training events, whoever can train."""
    if config.memory.mode == "off":
        return Remembered()
    sequences, ends = bench.dataset.sequences, bench.split.train_ends
    people = eligible(ends, config.federated.min_events)
    everybody = [own_pairs(sequences.history(int(person), int(ends[person]))) for person in people]
    bytes_up = sum(pair_bytes(len(pairs.first_n)) for pairs in everybody)
    return Remembered(remember(everybody, len(bench.dataset.catalog), config), bytes_up)
