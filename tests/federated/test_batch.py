import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from pfsr.federated.batch import client_batch

HISTORIES = st.lists(
    st.lists(st.integers(1, 99), min_size=2, max_size=30).map(lambda h: np.array(h, np.int32)),
    min_size=1,
    max_size=5,
)


def occurs_in(part: list[int], whole: list[int]) -> bool:
    return any(whole[i : i + len(part)] == part for i in range(len(whole) - len(part) + 1))


@given(HISTORIES, st.integers(1, 12), st.integers(0, 2**40))
def test_a_batch_holds_a_stretch_of_each_history_and_what_follows_each_event(histories, window, seed):
    batch = client_batch(histories, [seed + i for i in range(len(histories))], window)
    for row, history in enumerate(histories):
        length = batch.lengths[row]
        assert length == min(window, len(history) - 1)
        items, targets = batch.items_BL[row].tolist(), batch.targets_BL[row].tolist()
        assert items[1:length] == targets[: length - 1]
        assert occurs_in([items[0], *targets[:length]], history.tolist())
        before = batch.before[row].tolist()
        assert history.tolist()[: len(before) + length + 1] == [*before, items[0], *targets[:length]]
        assert not any(items[length:]) and not any(targets[length:])
        assert float(batch.events_B[row]) == len(history) - 1
    assert batch.items_BL.shape == (len(histories), max(batch.lengths))


def test_a_long_history_gives_its_recent_stretch_half_of_the_time_and_any_other_too():
    history = np.arange(1, 41, dtype=np.int32)
    starts = [int(client_batch([history], [seed], 9).items_BL[0, 0]) - 1 for seed in range(600)]
    recent = np.mean([start == 30 for start in starts])
    assert abs(recent - (0.5 + 0.5 / 31)) < 4 * 0.5 / np.sqrt(600)
    assert len(set(starts)) == 31


def test_the_recent_stretch_is_among_those_drawn_the_other_half_of_the_time():
    history = np.arange(1, 12, dtype=np.int32)
    recent = [int(client_batch([history], [seed], 9).items_BL[0, 0]) == 2 for seed in range(600)]
    assert abs(np.mean(recent) - 0.75) < 4 * np.sqrt(0.75 * 0.25 / 600)


def test_a_client_is_given_the_same_stretch_whoever_else_is_in_the_batch():
    long, short = np.arange(1, 41, dtype=np.int32), np.array([3, 4], np.int32)
    for seed in range(10):
        alone = client_batch([long], [seed], 9)
        together = client_batch([short, long], [99, seed], 9)
        assert alone.items_BL[0].tolist() == together.items_BL[1].tolist()
