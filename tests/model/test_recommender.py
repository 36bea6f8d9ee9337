"""A model in use: frames of ranked items, and one event at a time with the same scores."""

import itertools

import numpy as np
import polars as pl
import pytest
import torch

from pfsr.config import ModelConfig
from pfsr.data.catalog import Catalog
from pfsr.errors import PfsrError
from pfsr.model.encoder import init_weights
from pfsr.model.memory import PairMemory
from pfsr.model.recommender import Recommender
from pfsr.model.response import response_sites

ITEMS = 12
SMALL = ModelConfig(d_model=16, d_state=4, heads=2, blocks=2)


def make(ids=tuple(range(100, 100 + ITEMS)), titles=None, config: ModelConfig = SMALL) -> Recommender:
    """Return a model whose weights are all far from their start, so that every part matters."""
    noise = torch.Generator().manual_seed(1)
    weights = {
        name: weight + 0.2 * torch.randn(weight.shape, generator=noise)
        for name, weight in init_weights(config, len(ids), seed=0).items()
    }
    weights["items"][0] = 0
    return Recommender(config, Catalog(tuple(ids), titles), weights)


def some_offsets(people: int, scale: float = 0.3) -> torch.Tensor:
    generator = torch.Generator().manual_seed(2)
    return scale * torch.randn(people, response_sites(SMALL).total, generator=generator)


@pytest.fixture(scope="module")
def model() -> Recommender:
    return make()


def test_the_frame_has_ranks_titles_and_falling_scores():
    model = make(titles=[f"title {row}" for row in range(ITEMS)])
    frame = model.recommend([[100, 101], [105]], k=4)
    assert frame.schema == {
        "person": pl.Int64, "rank": pl.Int64, "item_id": pl.Int64, "title": pl.String, "score": pl.Float32
    }  # fmt: skip
    for person, part in frame.group_by("person", maintain_order=True):
        assert person[0] in (0, 1)
        assert part["rank"].to_list() == [1, 2, 3, 4]
        assert part["score"].is_sorted(descending=True)
    assert frame["title"].to_list() == [f"title {item - 100}" for item in frame["item_id"]]


def test_the_frame_holds_the_best_scores(model):
    history = [104, 100, 111]
    scores = model.score([model.catalog.rows(history)])[0].numpy()
    order = [row for row in np.argsort(-scores, kind="stable") if row > 0 and 99 + row not in history]
    frame = model.recommend([history], k=5)
    assert frame["item_id"].to_list() == [99 + row for row in order[:5]]
    assert frame["score"].to_list() == pytest.approx(scores[order[:5]].tolist())


def test_seen_items_are_left_out_unless_asked_for(model):
    history = [100, 101, 102]
    assert not set(history) & set(model.recommend([history], k=99)["item_id"])
    assert set(model.recommend([history], k=99, exclude_seen=False)["item_id"]) == set(range(100, 112))


@pytest.mark.parametrize(("k", "rows"), [(1, 1), (9, 9), (10, 9), (10_000, 9)])
def test_k_beyond_the_catalogue_gives_what_is_left(model, k, rows):
    assert len(model.recommend([[100, 101, 102]], k)) == rows


def test_who_has_seen_everything_gets_nothing_and_the_others_theirs(model):
    frame = model.recommend([list(range(100, 112)), [100]], k=3)
    assert frame["person"].to_list() == [1, 1, 1]
    only = model.recommend([list(range(100, 112))], k=3)
    assert len(only) == 0
    assert only.columns == frame.columns


def test_an_empty_history_gets_the_items_with_the_highest_bias(model):
    bias = model.weights["item_bias"][1:].numpy()
    frame = model.recommend([[]], k=ITEMS)
    assert frame["item_id"].to_list() == [100 + row for row in np.argsort(-bias, kind="stable")]


def test_an_empty_history_among_others_changes_nobody(model):
    rows = [model.catalog.rows(ids) for ids in ([], [100, 105], [111])]
    together = model.score(rows)
    for row, alone in zip(together, rows, strict=True):
        torch.testing.assert_close(row, model.score([alone])[0], rtol=1e-5, atol=1e-5)


def test_nobody_gets_an_empty_frame(model):
    assert len(model.recommend([], k=3)) == 0


def test_people_never_seen_in_training_need_nothing_but_a_history(model):
    first = model.recommend([(item for item in (100, 103))], k=3)
    assert first.equals(model.recommend([[100, 103]], k=3))


@pytest.mark.parametrize(
    ("ids", "dtype"),
    [
        (("a", "1", "ü"), pl.String),
        ((1, 2, -3), pl.Int64),
        ((1, "1", 2.5), pl.Object),
        ((2**63, 1, 2), pl.Object),
        ((True, "a", (1, "b")), pl.Object),
    ],
)
def test_ids_come_back_as_they_were(ids, dtype):
    frame = make(ids).recommend([[]], k=3)
    back = frame["item_id"].to_list()
    assert frame.schema["item_id"] == dtype
    assert {(type(item), item) for item in back} == {(type(item), item) for item in ids}


@pytest.mark.parametrize("call", ["recommend", "step"])
def test_an_unknown_item_is_named_with_a_hint(model, call):
    with pytest.raises(PfsrError, match="'100' is unknown; did you mean 100") as caught:
        model.recommend([["100"]]) if call == "recommend" else model.step(model.start(), "100")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("options", [{"k": 0}, {"k": -3}, {"window": 0}, {"window": -1}])
def test_sizes_below_one_are_refused(model, options):
    with pytest.raises(PfsrError, match="must be at least 1"):
        model.recommend([[100]], **options)


def test_a_window_bounds_what_is_read_but_not_what_is_excluded(model):
    history = [100, 101, 102, 103, 104]
    frame = model.recommend([history], k=99, window=2)
    recent = model.recommend([history[-2:]], k=99)
    assert not set(history) & set(frame["item_id"])
    kept = recent.filter(~pl.col("item_id").is_in(history))
    assert frame["item_id"].to_list() == kept["item_id"].to_list()
    assert frame["score"].to_list() == kept["score"].to_list()


def test_weights_that_are_not_finite_are_told(model):
    broken = model.weights | {"scale": torch.full_like(model.weights["scale"], torch.nan)}
    with pytest.raises(PfsrError, match="not finite"):
        Recommender(SMALL, model.catalog, broken).recommend([[100]])


HISTORIES = {
    "one": [7],
    "short": [1, 2, 3],
    "horizon": [1, 5, 2, 2, 9, 11],
    "repeats": [4] * 20,
    "long": [1 + (7 * event * event) % ITEMS for event in range(150)],
}


@pytest.mark.parametrize("personal", [False, True], ids=["global", "personal"])
@pytest.mark.parametrize("view", ["associative", "forward"])
@pytest.mark.parametrize("history", HISTORIES.values(), ids=HISTORIES)
def test_stepping_equals_scoring_the_whole_history(history, view, personal):
    model = make(config=SMALL.model_copy(update={"view": view}))
    offsets = 0.1 * torch.randn(1, model.sites.total) if personal else None
    state = model.start()
    checked = set(range(1, 12)) | set(range(12, len(history) + 1, 23)) | {len(history)}
    for length in range(1, len(history) + 1):
        state, stepped = model.step(state, model.catalog.item_id(history[length - 1]), offsets)
        if length in checked:
            whole = model.score([np.array(history[:length])], offsets)[0]
            torch.testing.assert_close(stepped, whole, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("encoder", ["sasrec", "gru4rec", "lrurec"])
def test_an_encoder_without_steps_says_so_and_still_scores(model, encoder):
    rival = make(config=SMALL.model_copy(update={"encoder": encoder}))
    said = f"encoder {encoder} has no constant-size state; use score, which reads the history again"
    with pytest.raises(PfsrError, match=said):
        rival.start()
    with pytest.raises(PfsrError, match=said):
        rival.step(model.start(), 100)
    assert len(rival.recommend([[100, 101]], k=5)) == 5


def test_a_state_can_be_continued_twice(model):
    state, _ = model.step(model.start(), 100)
    _, first = model.step(state, 101)
    model.step(state, 105)
    torch.testing.assert_close(model.step(state, 101)[1], first, rtol=0, atol=0)


def test_a_state_does_not_grow(model):
    def size(state):
        return sum(part.numel() for block in state for part in block if isinstance(part, torch.Tensor))

    state, sizes = model.start(), []
    for item in itertools.islice(itertools.cycle(range(100, 112)), 40):
        state, _ = model.step(state, item)
        sizes.append(size(state))
    assert len(set(sizes[10:])) == 1


def test_four_thousand_events_are_finite_and_equal_stepping(model):
    history = np.array([1 + (5 * event + event // 7) % ITEMS for event in range(4_000)])
    whole = model.score([history])[0]
    state, stepped = model.start(), None
    for item in history.tolist():
        state, stepped = model.step(state, model.catalog.item_id(item))
    assert stepped is not None
    assert bool(whole[1:].isfinite().all())
    torch.testing.assert_close(stepped, whole, rtol=1e-3, atol=1e-3)


def test_zero_offsets_are_the_global_model_and_others_are_not(model):
    rows = [np.array([1, 2, 3]), np.array([4, 5])]
    everybody = model.score(rows)
    zero = model.score(rows, torch.zeros(2, model.sites.total))
    torch.testing.assert_close(zero, everybody, rtol=1e-6, atol=1e-6)
    personal = model.score(rows, some_offsets(2))
    assert float((personal - everybody)[:, 1:].abs().max()) > 0.01


def test_offsets_are_each_persons_own(model):
    rows, offsets = [np.array([1, 2, 3]), np.array([4, 5])], some_offsets(2)
    together = model.score(rows, offsets)
    for person in (0, 1):
        alone = model.score([rows[person]], offsets[person : person + 1])[0]
        torch.testing.assert_close(together[person], alone, rtol=1e-5, atol=1e-5)


def test_recommending_leaves_the_weights_alone(model):
    before = {name: weight.clone() for name, weight in model.weights.items()}
    model.recommend([[100, 101], []], offsets_BS=some_offsets(2))
    assert all((model.weights[name] == weight).all() for name, weight in before.items())


def test_a_memory_reads_the_whole_history_where_the_encoder_reads_a_window(model):
    starts, totals = np.repeat([0, 1], [3, ITEMS - 1]), np.zeros(ITEMS + 1, np.float32)
    totals[2] = 50
    pairs = PairMemory(starts, np.array([7], np.int32), np.array([50], np.float32), totals, 1.0, 0.9)
    remembering = Recommender(model.config, model.catalog, model.weights, pairs)
    history = [107, 101, 105]  # rows 8, 2 and 6: 2 calls 7 to mind
    scored = remembering.score([model.catalog.rows(history)], window=1)[0].numpy()
    alone = model.score([model.catalog.rows(history[-1:])])[0].numpy()
    np.testing.assert_array_equal(
        scored, pairs.add_to(alone, np.array([8, 2, 6]), np.array([8, 2, 6])), strict=True
    )
    assert remembering.recommend([history], k=1, window=1)["item_id"].to_list() == [106]
    seen = remembering.recommend([history], k=ITEMS, exclude_seen=False)
    assert set(history) <= set(seen["item_id"])
