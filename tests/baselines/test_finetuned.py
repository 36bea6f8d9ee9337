"""Personal copies against torch's Adam on the objective written out, one person at a time."""

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from pfsr.baselines import finetuned
from pfsr.baselines.finetuned import FineTuned, Tuning
from pfsr.config import Config
from pfsr.data.catalog import Catalog
from pfsr.data.population import large_population
from pfsr.data.sequences import Sequences
from pfsr.federated.pairs import own_pairs, remember
from pfsr.federated.rounds import first_state, make_broadcast
from pfsr.model.encoder import encode
from pfsr.model.memory import REACH
from pfsr.model.recommender import Recommender
from pfsr.recipe import resolve

ITEMS = 15
PEOPLE = large_population(24, ITEMS, 9.0).sequences
ENDS = np.maximum(PEOPLE.lengths - 2, 0)
UNTRAINED, TRAINED = np.flatnonzero(ENDS < 2), np.flatnonzero(ENDS >= 2)
LONG = int(ENDS.argmax())

BASE: dict[str, Any] = {
    "model": {"d_model": 16, "heads": 2, "d_state": 4, "blocks": 2, "horizon": 3},
    "federated": {"window": 10},
    "objective": {"negatives": 5},
    "evaluation": {"window": 6},
}
CONFIG = resolve(BASE)
SAMPLED = resolve(BASE, {"objective": {"loss": "sampled"}})
KEPT = resolve(BASE, {"objective": {"seen": "kept"}})
SAMPLED_KEPT = resolve(BASE, {"objective": {"loss": "sampled", "seen": "kept"}})


def base(dtype: torch.dtype = torch.float32, config: Config = CONFIG) -> dict[str, Tensor]:
    random = torch.Generator().manual_seed(1)
    fresh = first_state(config, ITEMS).weights
    weights = {
        n: w.to(dtype) + 0.2 * torch.randn(w.shape, generator=random, dtype=dtype) for n, w in fresh.items()
    }
    weights["items"][0] = 0
    return weights


def method(
    tuning: Tuning, config: Config = CONFIG, sequences: Sequences = PEOPLE, **changes: Any
) -> FineTuned:
    made = FineTuned("tuned", base(), sequences, ENDS, config, tuning)
    return replace(made, **changes)


def histories(people: np.ndarray) -> list[np.ndarray]:
    """What lies before the last event: more than was trained on."""
    return [PEOPLE.history(int(p), int(PEOPLE.lengths[p]) - 1) for p in people]


def out_of_play(history: Tensor, targets: Tensor, config: Config) -> Tensor:
    """What the targets, a history's last events, do not compete with, bool [events, items + 1]."""
    out = torch.zeros(len(targets), ITEMS + 1, dtype=torch.bool)
    for event, target in enumerate(targets if config.objective.seen == "left_out" else []):
        out[event, history[: len(history) - len(targets) + event]] = True
        out[event, target] = False
    return out


def own_loss(
    weights: dict[str, Tensor], person: int, config: Config = CONFIG, negatives: Tensor | None = None
) -> Tensor:
    """Mean loss of one person's most recent training events, no batch and no client axis."""
    history = torch.from_numpy(PEOPLE.history(person, int(ENDS[person])).astype(np.int64))
    read, targets = history[-11:][:-1], history[-11:][1:]
    x_1Ld = F.embedding(read, weights["items"])[None] * math.sqrt(CONFIG.model.d_model)
    query = encode(weights, x_1Ld, torch.ones(1, len(read), dtype=torch.bool), CONFIG.model)[0]
    logits = query @ weights["items"].T + weights["item_bias"]
    logits = logits.masked_fill(out_of_play(history, targets, config), -torch.inf)
    if negatives is None:
        return F.cross_entropy(logits[:, 1:], targets - 1)
    others = logits[:, negatives] + math.log(ITEMS / len(negatives))
    others = others.masked_fill(negatives == targets[:, None], -torch.inf)
    return F.cross_entropy(
        torch.cat([logits.gather(1, targets[:, None]), others], 1), torch.zeros_like(targets)
    )


def tuned_alone(start: dict[str, Tensor], person: int, tuning: Tuning, config: Config) -> dict[str, Tensor]:
    weights = {name: w.clone().requires_grad_() for name, w in start.items()}
    adam = torch.optim.Adam(weights.values(), lr=tuning.rate)
    for step in range(tuning.steps):
        adam.zero_grad()
        negatives = make_broadcast(first_state(config, ITEMS)._replace(round=step), config).negatives
        distance = sum(((w - start[name]) ** 2).sum() for name, w in weights.items())
        (own_loss(weights, person, config, negatives) + tuning.pull / 2 * distance).backward()
        adam.step()
    return {name: w.detach() for name, w in weights.items()}


@pytest.mark.parametrize(
    "config",
    [CONFIG, SAMPLED, KEPT, SAMPLED_KEPT],
    ids=["full", "sampled", "full, everything competes", "sampled, everything competes"],
)
@pytest.mark.parametrize("pull", [0.0, 0.8])
def test_a_copy_is_adam_on_the_objective_written_out(config, pull):
    tuning, people = Tuning(4, 0.01, pull), np.array([TRAINED[0], LONG, TRAINED[-1]])
    start = base(torch.float64)
    copies = method(tuning, config, base=start).copies(people)
    for row, person in enumerate(people):
        expected = tuned_alone(start, int(person), tuning, config)
        for name, weight in expected.items():
            torch.testing.assert_close(
                copies[name][row], weight, rtol=1e-5, atol=1e-7, msg=lambda m, n=name: n + m
            )


@pytest.mark.parametrize("config", [CONFIG, SAMPLED], ids=["full", "sampled"])
def test_everybody_is_scored_by_a_copy_of_their_own_whoever_else_is_asked_for(config, monkeypatch):
    people = np.random.default_rng(0).permutation(24)
    scorer = method(Tuning(3, 0.01), config, base=base(torch.float64))
    monkeypatch.setattr(finetuned, "MOST", 5)
    together = scorer.score(people, histories(people))
    monkeypatch.setattr(finetuned, "NUMBERS", 1)
    alone = [scorer.score(people[i : i + 1], histories(people[i : i + 1]))[0] for i in range(24)]
    np.testing.assert_allclose(together, np.stack(alone), rtol=1e-5, atol=1e-6)
    assert together.dtype == np.float32 and together.shape == (24, ITEMS + 1)


def test_scores_are_those_of_the_copy_over_the_newest_events():
    scorer = method(Tuning(5, 0.01), base=base(torch.float64))
    scores = scorer.score(TRAINED, histories(TRAINED))
    for row, person in enumerate(TRAINED):
        copy = {name: w[0] for name, w in scorer.copies(np.array([person])).items()}
        model = Recommender(CONFIG.model, Catalog(tuple(range(1, ITEMS + 1))), copy)
        expected = model.score([histories([person])[0][-6:]]).numpy()[0]
        np.testing.assert_allclose(scores[row], expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("encoder", ["amb", "sasrec"])
def test_without_steps_or_events_everybody_has_the_base(encoder):
    """With sasrec an empty history would show, were it encoded: its layers have biases."""
    config = resolve(BASE, {"model": {"encoder": encoder}})
    model = Recommender(config.model, Catalog(tuple(range(1, ITEMS + 1))), base(config=config))
    assert len(UNTRAINED)
    people = np.array([*TRAINED[:4], *UNTRAINED])
    seen = [*histories(TRAINED[:3]), np.zeros(0, np.int32), *histories(UNTRAINED)]
    expected = model.score([one[-6:] for one in seen]).numpy()
    scores = method(Tuning(0, 0.01), config, base=model.weights).score(people, seen)
    np.testing.assert_allclose(scores, expected, rtol=1e-4, atol=1e-5)
    scores = method(Tuning(9, 0.1), config, base=model.weights).score(people, seen)
    np.testing.assert_allclose(scores[4:], expected[4:], rtol=1e-4, atol=1e-5)
    assert not np.allclose(scores[:4, 1:], expected[:4, 1:], rtol=0.01, atol=0.01)


def test_a_memory_of_pairs_stands_beside_every_copy():
    people, plain = TRAINED[:3], method(Tuning(2, 1e-2))
    config = resolve(BASE, {"memory": {"mode": "pairs", "people": 1}})
    everybody = [own_pairs(PEOPLE.history(int(p), int(ENDS[p]))) for p in range(len(ENDS))]
    memory = remember(everybody, ITEMS, config)
    found = replace(plain, memory=memory).score(people, histories(people))
    alone = plain.score(people, histories(people))
    for scores, before, history in zip(found, alone, histories(people), strict=True):
        np.testing.assert_allclose(scores, memory.add_to(before, history[-REACH:], history), rtol=1e-5)
    assert not np.allclose(found[:, 1:], alone[:, 1:])


def test_a_copy_fits_its_person_better_than_the_base_and_the_base_stays():
    scorer, before = method(Tuning(15, 0.01)), base()
    copies = scorer.copies(TRAINED)
    for row, person in enumerate(TRAINED):
        assert own_loss({n: w[row] for n, w in copies.items()}, int(person)) < own_loss(before, int(person))
    assert all(torch.equal(w, before[name]) for name, w in scorer.base.items())


def test_a_stronger_pull_keeps_a_copy_nearer_to_the_base():
    def distance(pull: float) -> float:
        copies = method(Tuning(30, 3e-3, pull)).copies(TRAINED)
        return sum(float((w - base()[name]).norm()) for name, w in copies.items())

    assert distance(0) > 1.2 * distance(0.3) > 1.44 * distance(3.0)


def test_nothing_at_or_after_the_end_of_training_is_learnt_from():
    items = PEOPLE.items.copy()
    for person, end in enumerate(ENDS):
        items[PEOPLE.offsets[person] + end : PEOPLE.offsets[person + 1]] = 10**6
    poisoned = method(Tuning(3, 0.01), sequences=replace(PEOPLE, items=items))
    seen = histories(TRAINED)
    np.testing.assert_array_equal(poisoned.score(TRAINED, seen), method(Tuning(3, 0.01)).score(TRAINED, seen))


def with_older_events(changed: np.ndarray) -> Sequences:
    """The same histories, but for what the longest holds before its most recent training events."""
    items, start = PEOPLE.items.copy(), PEOPLE.offsets[LONG]
    items[start : start + len(changed)] = changed
    return replace(PEOPLE, items=items)


def test_only_the_most_recent_training_events_are_learnt_from_and_none_is_hidden():
    assert ENDS[LONG] > 11
    sequences = with_older_events(np.full(ENDS[LONG] - 11, 10**6))
    dropout = resolve(KEPT.model_dump(), {"model": {"dropout": 0.0, "event_dropout": 0.0}})
    one = method(Tuning(3, 0.01), KEPT).copies(np.array([LONG]))
    two = method(Tuning(3, 0.01), dropout, sequences).copies(np.array([LONG]))
    assert all(torch.equal(weight, two[name]) for name, weight in one.items())


@pytest.mark.parametrize("config", [CONFIG, SAMPLED], ids=["full", "sampled"])
def test_of_older_events_it_counts_only_which_items_they_were(config):
    older, recent = np.split(PEOPLE.history(LONG, int(ENDS[LONG])), [ENDS[LONG] - 11])
    # As if there were no older ones: the first item read is left out of every comparison anyway.
    nothing_older = np.full_like(older, recent[0])
    honest, turned, other = (
        method(Tuning(3, 0.01), config, with_older_events(events)).copies(np.array([LONG]))
        for events in (older, older[::-1], nothing_older)
    )
    assert all(torch.equal(weight, turned[name]) for name, weight in honest.items())
    assert not torch.allclose(honest["items"], other["items"])
