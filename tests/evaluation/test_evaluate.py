import numpy as np
import pytest

from pfsr.data.sequences import Sequences
from pfsr.data.split import Targets, leave_one_out
from pfsr.errors import PfsrError
from pfsr.evaluation.evaluate import Evaluation, evaluate

ITEMS = 200


def world(people=600, seed=0):
    """Independent, uniform events: nothing can be learned, so every honest method is at chance."""
    random = np.random.default_rng(seed)
    lengths = random.integers(3, 60, people)
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    items = random.integers(1, ITEMS + 1, offsets[-1]).astype(np.int32)
    return Sequences(offsets, items, np.arange(offsets[-1], dtype=np.float64))


class FromFunction:
    """A scorer made of a function of one history; remembers what it was shown."""

    name = "function"

    def __init__(self, function):
        self.function = function
        self.seen = []

    def score(self, people, histories):
        self.seen += list(zip(people.tolist(), histories, strict=True))
        return np.stack([self.function(history) for history in histories]).astype(np.float32)


def random_scorer(seed=1):
    random = np.random.default_rng(seed)
    return FromFunction(lambda history: random.normal(size=ITEMS + 1))


def judge(scorer, sequences, **options):
    parts = leave_one_out(sequences)
    return evaluate(scorer, sequences, parts.test, parts.train_ends, items=ITEMS, **options)


def assert_at_chance(result, competing=ITEMS):
    chance = 10 / competing
    slack = 4 * np.sqrt(chance * (1 - chance) / len(result))
    assert abs(result.metrics()["HR@10"] - chance) < slack


def test_an_untrained_scorer_is_at_chance():
    assert_at_chance(judge(random_scorer(), world(), mask_seen=False))


def test_a_probe_of_what_training_may_use_as_negatives_is_at_chance():
    """A device knows its training events. "Not among my negatives" must not point at the target."""
    sequences = world()
    parts = leave_one_out(sequences)
    random = np.random.default_rng(2)

    class Probe:
        name = "probe"

        def score(self, people, histories):
            scores = random.uniform(size=(len(people), ITEMS + 1)).astype(np.float32)
            for row, person in enumerate(people):
                scores[row, sequences.history(person, int(parts.train_ends[person]))] += 1
            return scores

    result = evaluate(Probe(), sequences, parts.test, parts.train_ends, items=ITEMS, mask_seen=False)
    assert_at_chance(result)


def test_a_probe_of_the_masking_is_at_chance():
    """Masking seen items removes as many rivals as were seen, and must help by no more than that."""

    def unseen_first(history):
        scores = np.random.default_rng(len(history)).uniform(size=ITEMS + 1)
        scores[history] -= 1
        return scores

    sequences = world(people=1500)
    result = judge(FromFunction(unseen_first), sequences)
    new = np.array(
        [sequences.items[end - 1] not in sequences.items[start : end - 1]
         for start, end in zip(sequences.offsets[:-1], sequences.offsets[1:], strict=True)]
    )  # fmt: skip
    rivals = np.array(
        [ITEMS - len(set(sequences.items[start : end - 1].tolist()))
         for start, end in zip(sequences.offsets[:-1], sequences.offsets[1:], strict=True)]
    )  # fmt: skip
    chance = (10 / rivals[new]).mean()
    found = (result.ranks[new] <= 10).mean()
    assert abs(found - chance) < 4 * np.sqrt(chance * (1 - chance) / new.sum())


def test_a_scorer_is_shown_exactly_what_lies_before_the_target():
    sequences = world(people=40)
    scorer = random_scorer()
    judge(scorer, sequences, batch=7)
    assert [person for person, _ in scorer.seen] == list(range(40))
    for person, history in scorer.seen:
        assert history.tolist() == sequences.history(person).tolist()[:-1]
        assert history.base is None


def test_what_lies_after_the_target_changes_nothing():
    sequences = world(people=50)
    parts = leave_one_out(sequences)
    changed = sequences.items.copy()
    changed[sequences.offsets[1:] - 1] = 1
    other = Sequences(sequences.offsets, changed, sequences.times)
    last = FromFunction(lambda history: -np.abs(np.arange(ITEMS + 1) - history[-1]))
    before, after = (
        evaluate(last, events, parts.validation, parts.train_ends, items=ITEMS)
        for events in (sequences, other)
    )
    assert (before.ranks == after.ranks).all()
    assert (before.nll == after.nll).all()


def test_a_scorer_that_spoils_its_history_does_not_change_the_masking():
    sequences = world(people=30)

    def spoil(history):
        history[:] = 1
        return np.arange(ITEMS + 1)

    honest = judge(FromFunction(lambda history: np.arange(ITEMS + 1)), sequences)
    assert (judge(FromFunction(spoil), sequences).ranks == honest.ranks).all()


@pytest.mark.parametrize("mask_seen", [True, False])
def test_a_scorer_that_knows_nothing_loses_the_log_of_how_many_items_compete(mask_seen):
    sequences = world(people=40)
    result = judge(FromFunction(lambda history: np.zeros(ITEMS + 1)), sequences, mask_seen=mask_seen, batch=7)
    for person in range(40):
        *history, target = sequences.history(person).tolist()
        competing = ITEMS - len(set(history) - {target}) if mask_seen else ITEMS
        assert result.ranks[person] == competing
        assert result.nll[person] == pytest.approx(np.log(competing))


@pytest.mark.parametrize("batch", [1, 7, 1000])
def test_the_batch_size_changes_nothing(batch):
    nearest = FromFunction(lambda history: -np.abs(np.arange(ITEMS + 1) - history[-1]))
    sequences = world(people=60)
    expected = judge(nearest, sequences)
    result = judge(nearest, sequences, batch=batch)
    assert (result.ranks == expected.ranks).all()
    assert result.metrics() == expected.metrics()


def small():
    """Three people; ties in time, a cold item, a cold person."""
    offsets = np.array([0, 3, 7, 9])
    items = np.array([1, 2, 3, 1, 2, 1, 2, 1, 4], np.int32)
    times = np.array([0, 1, 1, 0, 1, 2, 3, 5, 6], np.float64)
    targets = Targets(np.array([0, 1, 2]), np.array([2, 3, 1]), np.array([3, 2, 4], np.int32))
    return Sequences(offsets, items, times), targets, np.array([2, 3, 1])


def test_traits_of_targets():
    sequences, targets, train_ends = small()
    scorer = FromFunction(lambda history: np.array([0, 4, 3, 2, 1]))
    result = evaluate(scorer, sequences, targets, train_ends, items=4)
    assert result.history_lengths.tolist() == [2, 3, 1]
    assert result.tied.tolist() == [True, False, False]
    assert result.cold_people.tolist() == [False, False, True]
    assert result.cold_items.tolist() == [True, False, True]
    assert result.ranks.tolist() == [1, 1, 3]
    slices = result.slices()
    assert slices["cold items"]["n"] == 2
    assert slices["cold items"]["MRR@10"] == pytest.approx((1 + 1 / 3) / 2)
    assert slices["tied in time"]["n"] + slices["not tied"]["n"] == 3
    assert "history 6-10" not in slices


def test_length_slices_share_out_everybody():
    slices = judge(random_scorer(), world()).slices()
    assert sum(part["n"] for name, part in slices.items() if name.startswith("history")) == 600
    assert slices["worst decile"]["n"] == 60
    assert slices["worst decile"]["NLL"] > slices["history >50"]["NLL"]


def test_saved_evaluation_is_the_same_when_loaded(tmp_path):
    result = judge(random_scorer(), world(people=50))
    result.save(tmp_path / "deep" / "test.npz")
    loaded = Evaluation.load(tmp_path / "deep" / "test.npz")
    assert loaded.name == result.name
    assert loaded.slices() == result.slices()
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["test.npz"]


@pytest.mark.parametrize("content", [None, b"", b"PK\x03\x04 nonsense", b"text"])
def test_a_damaged_file_is_told_on_one_line(tmp_path, content):
    path = tmp_path / "test.npz"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(PfsrError, match=r"test\.npz: not a saved evaluation") as caught:
        Evaluation.load(path)
    assert "\n" not in str(caught.value)


def test_pickled_objects_are_refused(tmp_path):
    path = tmp_path / "test.npz"
    np.savez(path, name=np.array(["x", {}], object))
    with pytest.raises(PfsrError, match="not a saved evaluation"):
        Evaluation.load(path)


def test_bad_scores_are_told_with_the_scorers_name():
    sequences = world(people=5)
    with pytest.raises(PfsrError, match=r"scorer function: scores have shape \(5, 3\)"):
        judge(FromFunction(lambda history: np.zeros(3)), sequences)
    with pytest.raises(PfsrError, match="scorer function: scores hold NaN"):
        judge(FromFunction(lambda history: np.full(ITEMS + 1, np.nan)), sequences)


def test_nothing_to_evaluate_is_told():
    sequences, _, train_ends = small()
    nobody = Targets(*(np.array([], np.int64) for _ in range(3)))
    with pytest.raises(PfsrError, match="no held-out events"):
        evaluate(random_scorer(), sequences, nobody, train_ends, items=4)
