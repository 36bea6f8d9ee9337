from dataclasses import replace

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from pfsr.data import Sequences
from pfsr.data.split import leave_one_out, split, time_split
from pfsr.errors import PfsrError


@st.composite
def histories(draw, shortest=1):
    lengths = draw(st.lists(st.integers(shortest, 8), min_size=1, max_size=8))
    count = sum(lengths)
    items = draw(st.lists(st.integers(1, 5), min_size=count, max_size=count))
    times = [sorted(draw(st.lists(st.integers(0, 9), min_size=n, max_size=n))) for n in lengths]
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    return Sequences(offsets, np.array(items, np.int32), np.concatenate(times).astype(float))


def held_out(targets):
    return dict(zip(targets.people.tolist(), targets.positions.tolist(), strict=True))


def cut_in_time(sequences):
    try:
        return time_split(sequences)
    except PfsrError:
        assume(False)


@given(histories(shortest=3))
def test_leave_one_out_holds_out_the_last_two(sequences):
    parts = leave_one_out(sequences)
    for person in range(len(sequences)):
        history = sequences.history(person).tolist()
        assert parts.test.items[person] == history[-1]
        assert parts.validation.items[person] == history[-2]
        assert parts.train_ends[person] == len(history) - 2


@given(histories())
def test_no_training_event_at_or_after_a_held_out_one(sequences):
    parts = cut_in_time(sequences)
    validation, test = held_out(parts.validation), held_out(parts.test)
    for person, end in enumerate(parts.train_ends):
        assert end <= validation.get(person, end)
        assert end <= test.get(person, end)
        assert validation.get(person, -1) < test.get(person, np.inf)


@given(histories())
def test_time_split_trains_and_validates_strictly_before_the_cut(sequences):
    parts = cut_in_time(sequences)
    cut = np.quantile(sequences.times, 0.9)
    for person, end in enumerate(parts.train_ends):
        start = sequences.offsets[person]
        assert (sequences.times[start : start + end] < cut).all()
    validated = sequences.times[sequences.offsets[parts.validation.people] + parts.validation.positions]
    tested = sequences.times[sequences.offsets[parts.test.people] + parts.test.positions]
    assert (validated < cut).all()
    assert (tested >= cut).all()


@given(histories())
def test_time_split_tests_everybody_it_can(sequences):
    parts = cut_in_time(sequences)
    cut = np.quantile(sequences.times, 0.9)
    last = sequences.times[sequences.offsets[1:] - 1]
    expected = np.flatnonzero((last >= cut) & (sequences.lengths > 1))
    assert parts.test.people.tolist() == expected.tolist()


@given(histories())
def test_targets_are_the_items_at_their_positions(sequences):
    parts = cut_in_time(sequences)
    for targets in (parts.validation, parts.test):
        for person, position, item in zip(targets.people, targets.positions, targets.items, strict=True):
            assert sequences.history(person)[position] == item


@given(histories(shortest=3), st.data())
def test_digest_changes_with_any_event_and_only_then(sequences, data):
    place = data.draw(st.integers(0, len(sequences.items) - 1))
    items, times = sequences.items.copy(), sequences.times.copy()
    items[place] += 1
    times[place] += 0.5
    digest = leave_one_out(sequences).digest
    assert leave_one_out(replace(sequences, items=sequences.items.copy())).digest == digest
    assert leave_one_out(replace(sequences, items=items)).digest != digest
    assert leave_one_out(replace(sequences, times=times)).digest != digest


def test_digest_tells_the_protocols_apart():
    sequences = Sequences(np.array([0, 4]), np.array([1, 2, 3, 4], np.int32), np.arange(4.0))
    assert split(sequences, "time").digest != split(sequences, "leave-one-out").digest


def test_unknown_protocol_is_refused():
    with pytest.raises(PfsrError, match="'leave-one-out' or 'time'"):
        split(Sequences(np.array([0]), np.array([], np.int32), np.array([])), "random")


def test_short_histories_are_counted():
    sequences = Sequences(np.array([0, 2, 5]), np.ones(5, np.int32), np.arange(5.0))
    with pytest.raises(PfsrError, match=r"^1 people have fewer than 3 events.*data.core"):
        leave_one_out(sequences)


@pytest.mark.parametrize("times", [[5.0, 5.0, 5.0], [1.0, 9.0, 9.0]])
def test_a_cut_that_leaves_nothing_is_refused(times):
    with pytest.raises(PfsrError, match="leave-one-out"):
        time_split(Sequences(np.array([0, 3]), np.ones(3, np.int32), np.array(times)))
