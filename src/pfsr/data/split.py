"""What each person trains on, and the one event held out for validation and for test.

Both splits (leave-one-out and global time) keep a *prefix* of every history for training, so a split
is one number per person and a few held-out positions, never a copy of the events.
"""

import hashlib
from dataclasses import dataclass

import numpy as np

from pfsr.data.sequences import Sequences
from pfsr.errors import PfsrError


@dataclass(frozen=True)
class Targets:
    """Held-out events, at most one per person, in order of people.

    Attributes:
        people: int64 [n], rows of :class:`Sequences`.
        positions: int64 [n], index of the target inside its person's history; all before it may be read.
        items: int32 [n], the catalogue rows to be predicted.
    """

    people: np.ndarray
    positions: np.ndarray
    items: np.ndarray

    def __len__(self) -> int:
        return len(self.people)


@dataclass(frozen=True)
class Split:
    """A protocol applied to a data set.

    Attributes:
        kind: ``leave-one-out`` or ``time``.
        train_ends: int64 [people]; person ``p`` trains on its first ``train_ends[p]`` events.
        validation: one held-out event per person, after the training events.
        test: one held-out event per person, after the validation event.
        digest: hash of the events and of what is held out; equal digests mean comparable numbers.
    """

    kind: str
    train_ends: np.ndarray
    validation: Targets
    test: Targets
    digest: str


def split(sequences: Sequences, kind: str) -> Split:
    """Apply the protocol ``kind`` (``leave-one-out`` or ``time``).

    Raises:
        PfsrError: there is no such protocol, or it leaves nothing to train on or to test.
    """
    protocols = {"leave-one-out": leave_one_out, "time": time_split}
    if kind not in protocols:
        raise PfsrError(f"data.split {kind!r} is unknown; use {' or '.join(map(repr, protocols))}")
    return protocols[kind](sequences)


def leave_one_out(sequences: Sequences) -> Split:
    """Last event for test, last but one for validation, the rest for training.

    Raises:
        PfsrError: a person has fewer than three events, so that nothing would be left to train on.
    """
    lengths = sequences.lengths
    short = int((lengths < 3).sum())
    if short:
        raise PfsrError(
            f"{short} people have fewer than 3 events, too few for leave-one-out; "
            "set data.core to 3 or more (plus data.without_last), or use data.split = 'time'"
        )
    people = np.arange(len(sequences))
    test = _targets(sequences, people, lengths - 1)
    validation = _targets(sequences, people, lengths - 2)
    return _finish("leave-one-out", sequences, lengths - 2, validation, test)


def time_split(sequences: Sequences, quantile: float = 0.9) -> Split:
    """Cut everybody at one moment: the ``quantile`` of all event times.

    Test: each person's last event after the cut, for people with at least one event before that.
    Validation: each person's last event before the cut (people with two or more there).
    Training: the events strictly before the cut, less the validation event.

    Raises:
        PfsrError: nobody has an event after the cut, or two before it.
    """
    cut = np.quantile(sequences.times, quantile)
    before = _events_before(sequences, cut)
    lengths = sequences.lengths
    tested = np.flatnonzero((lengths > before) & (lengths > 1))
    validated = np.flatnonzero(before > 1)
    if not len(tested):
        raise PfsrError("nobody has an event after the time cut; use data.split = 'leave-one-out'")
    if not len(validated):
        raise PfsrError("nobody has two events before the time cut; use data.split = 'leave-one-out'")
    train_ends = np.where(before > 1, before - 1, before)
    test = _targets(sequences, tested, lengths[tested] - 1)
    validation = _targets(sequences, validated, before[validated] - 1)
    return _finish("time", sequences, train_ends, validation, test)


def _events_before(sequences: Sequences, cut: float) -> np.ndarray:
    running = np.concatenate([[0], np.cumsum(sequences.times < cut)])
    return running[sequences.offsets[1:]] - running[sequences.offsets[:-1]]


def _targets(sequences: Sequences, people: np.ndarray, positions: np.ndarray) -> Targets:
    return Targets(people, positions, sequences.items[sequences.offsets[people] + positions])


def _finish(
    kind: str, sequences: Sequences, train_ends: np.ndarray, validation: Targets, test: Targets
) -> Split:
    digest = hashlib.sha256(kind.encode())
    held_out = (part for targets in (validation, test) for part in (targets.people, targets.positions))
    for array in (sequences.offsets, sequences.items, sequences.times, train_ends, *held_out):
        digest.update(str(array.shape).encode() + np.ascontiguousarray(array).tobytes())
    return Split(kind, train_ends, validation, test, digest.hexdigest()[:16])
