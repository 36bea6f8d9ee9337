import numpy as np
import pytest
import torch

from pfsr.errors import PfsrError
from pfsr.federated.aggregate import pseudo_gradient
from pfsr.federated.cohort import sample_cohort
from pfsr.federated.download import travelling
from pfsr.federated.rounds import (
    RoundReport,
    ServerState,
    first_state,
    make_broadcast,
    run_round,
    uses_sampled_loss,
)
from pfsr.federated.server import server_step
from pfsr.federated.update import wire_bytes
from pfsr.model.magnitude import FIRST_LIMIT

EVERYBODY = np.arange(6)


def run(world, config, rounds: int, histories=None) -> tuple[ServerState, list[RoundReport]]:
    state, reports = first_state(config, world.catalogue), []
    train = world.trainer(config, histories)
    clients = EVERYBODY if histories is None else np.arange(len(histories))
    for _ in range(rounds):
        state, report = run_round(state, clients, train, config)
        reports.append(report)
    return state, reports


def tensors(state: ServerState) -> list[torch.Tensor]:
    moments = [value for kind in state.moments for value in kind.values()]
    return [*state.weights.values(), *moments, state.spread_G, state.limits_T]


def same(one: ServerState, two: ServerState) -> bool:
    return all(torch.equal(a, b) for a, b in zip(tensors(one), tensors(two), strict=True))


@pytest.mark.parametrize("loss", ["full", "sampled"])
def test_the_same_seed_gives_identical_rounds_and_another_seed_does_not(world, loss):
    config = world.config(objective={"loss": loss}, model={"dropout": 0.2}, federated={"unavailable": 0.3})
    one, reports = run(world, config, 2)
    two, again = run(world, config, 2)
    other, _ = run(world, config.model_copy(update={"seed": 1}), 2)
    assert same(one, two)
    assert reports == again
    assert not same(one, other)


RIVALS = {"left_out": [*range(11, 0, -1), 1, 1], "kept": [12] * 13}
"""How many items compete for each target of a cycle: 12 new items on end, then the first two once more."""


@pytest.mark.parametrize("seen", RIVALS)
def test_training_lowers_the_loss(world, seen):
    cycles = [np.array([(start + i) % 12 + 1 for i in range(14)], np.int32) for start in range(12)]
    config = world.config(
        federated={"cohort": 12, "server_rate": 0.02}, response={"mode": "off"}, objective={"seen": seen}
    )
    _, reports = run(world, config, 30, cycles)
    chance = np.log(RIVALS[seen]).mean()
    assert reports[0].loss == pytest.approx(chance, rel=0.02)
    assert reports[-1].loss < 0.3 * reports[0].loss


@pytest.mark.parametrize(("bits", "down", "loss"), [(1, 8, "full"), (4, 16, "sampled")])
def test_training_with_few_bits_lowers_the_loss(world, bits, down, loss):
    cycles = [np.array([(start + i) % 12 + 1 for i in range(14)], np.int32) for start in range(12)]
    few = {"upload_bits": bits, "download_bits": down, "cohort": 12, "server_rate": 0.02}
    sections = {"objective": {"loss": loss}, "response": {"mode": "off"}, "model": {"blocks": 1}}
    _, reports = run(world, world.config(federated=few, **sections), 20, cycles)
    assert reports[-1].loss < 0.4 * reports[0].loss


@pytest.mark.parametrize("loss", ["full", "sampled"])
def test_training_with_personal_offsets_lowers_the_loss_too(world, loss):
    cycles = [np.array([(start + i) % 12 + 1 for i in range(14)], np.int32) for start in range(12)]
    config = world.config(federated={"cohort": 12, "server_rate": 0.02}, objective={"loss": loss})
    _, reports = run(world, config, 25, cycles)
    assert reports[-1].loss < 0.6 * reports[0].loss


def test_a_round_reports_who_took_part_and_what_travelled(world):
    config = world.config(federated={"cohort": 5, "unavailable": 0.5})
    state = first_state(config, world.catalogue)
    asked = []

    def train(broadcast, people):
        asked.append(people)
        return world.trainer(config)(broadcast, people)

    _, report = run_round(state, EVERYBODY, train, config)
    answered = asked[0]
    assert 0 < len(answered) < 5
    assert (report.round, report.clients, report.silent) == (1, len(answered), 5 - len(answered))
    assert report.events == sum(min(len(world.people[p]) - 1, 16) for p in answered)
    assert report.bytes_up == len(answered) * wire_bytes(state.weights, len(state.spread_G))
    weights = 4 * sum(w.numel() for w in state.weights.values())
    assert report.bytes_down == 5 * (weights + 4 * len(state.spread_G) + 4 * len(state.limits_T) + 16)


def test_few_bits_are_counted(world):
    plain, few = world.config(), world.config(federated={"upload_bits": 2, "download_bits": 16})
    state = first_state(plain, world.catalogue)
    (_, before), (_, after) = (run_round(state, EVERYBODY, world.trainer(c), c) for c in (plain, few))
    numbers = sum(w.numel() for w in state.weights.values())
    assert before.bytes_down - after.bytes_down == 4 * 2 * numbers
    assert after.bytes_up == 4 * wire_bytes(state.weights, len(state.spread_G), 2)
    assert after.bytes_up < before.bytes_up / 8


def test_clients_learn_on_half_precision_and_the_server_keeps_its_own(world):
    config = world.config(federated={"download_bits": 16})
    state = world.state(config)
    kept = {name: w.clone() for name, w in state.weights.items()}
    sent = make_broadcast(state, config).weights
    for name, weight in state.weights.items():
        assert sent[name].dtype == torch.float32
        assert np.array_equal(sent[name].numpy(), weight.numpy().astype(np.float16).astype(np.float32))
        assert torch.equal(weight, kept[name])
    assert not torch.equal(sent["items"], state.weights["items"])
    assert make_broadcast(state, world.config()).weights is state.weights


def test_clients_learn_on_eight_bits_and_the_server_keeps_its_own(world):
    config = world.config(federated={"download_bits": 8})
    state = world.state(config)
    broadcast = make_broadcast(state, config)
    after, report = run_round(state, EVERYBODY, world.trainer(config), config)
    same_from_rounded = world.trainer(config)(
        broadcast, sample_cohort(EVERYBODY, config.federated, config.seed, 0)
    )
    gradient = pseudo_gradient(same_from_rounded, config.federated.local_rate)
    expected, _ = server_step(state.weights, state.moments, gradient, config.federated, 0)
    assert not torch.equal(broadcast.weights["items"], state.weights["items"])
    assert all(torch.equal(after.weights[name], expected[name]) for name in expected)
    sent = [t.nbytes for one in travelling(state.weights, 8).values() for t in one if t is not None]
    other = 4 * len(state.spread_G) + 4 * len(state.limits_T) + 16
    assert report.bytes_down == 4 * (sum(sent) + other)


@pytest.mark.parametrize("bits", [1, 8])
def test_a_movement_that_is_not_finite_is_refused_through_few_bits_too(world, bits):
    config = world.config(federated={"upload_bits": bits, "local_rate": 1e38}, objective={"magnitude": "off"})
    state = world.state(config)
    with pytest.raises(PfsrError, match="not finite"):
        run_round(state, EVERYBODY, world.trainer(config), config)


@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
def test_an_update_that_is_not_finite_is_refused_and_the_state_is_still_good(world, bad):
    config = world.config()
    state = first_state(config, world.catalogue)
    before = [part.clone() for part in tensors(state)]

    def train(broadcast, people):
        total = world.trainer(config)(broadcast, people)
        total.deltas["scale"][3] = bad
        return total

    with pytest.raises(PfsrError, match=r"scale are not finite"):
        run_round(state, EVERYBODY, train, config)
    assert all(torch.equal(a, b) for a, b in zip(tensors(state), before, strict=True))


def test_a_round_that_nobody_answers_changes_nothing_but_its_number(world):
    config = world.config(federated={"cohort": 1, "unavailable": 0.999999})
    state = first_state(config, world.catalogue)
    after, report = run_round(state, EVERYBODY, world.trainer(config), config)
    assert after.round == 1
    assert all(torch.equal(a, b) for a, b in zip(tensors(state), tensors(after), strict=True))
    assert (report.loss, report.clients, report.silent, report.bytes_up) == (None, 0, 1, 0)
    assert report.bytes_down > 0


def test_a_round_leaves_the_state_before_it_alone(world):
    config = world.config()
    state = first_state(config, world.catalogue)
    before = [part.clone() for part in tensors(state)]
    after, _ = run_round(state, EVERYBODY, world.trainer(config), config)
    assert all(torch.equal(a, b) for a, b in zip(tensors(state), before, strict=True))
    assert (state.round, after.round) == (0, 1)
    assert not same(state, after)
    assert float(after.weights["items"][0].abs().max()) == 0


def test_spread_and_limits_follow_the_clients(world):
    config = world.config(federated={"cohort": 6}, objective={"spread": 0.3})
    state = first_state(config, world.catalogue)
    assert state.spread_G.tolist() == pytest.approx([0.3] * len(world.sites(config).names))
    assert state.limits_T.tolist() == pytest.approx([FIRST_LIMIT] * len(state.weights))
    totals = []

    def train(broadcast, people):
        totals.append(world.trainer(config)(broadcast, people))
        return totals[-1]

    after, _ = run_round(state, EVERYBODY, train, config)
    mean = totals[0].spread_G / 6
    torch.testing.assert_close(after.spread_G, 0.8 * state.spread_G + 0.2 * mean)
    rise = (after.limits_T > state.limits_T).tolist()
    assert rise == (totals[0].within_T / 6 < config.objective.clip_quantile).tolist()


@pytest.mark.parametrize("magnitude", ["prox", "off"])
def test_spread_and_limits_stay_without_the_dynamic_loss(world, magnitude):
    state, _ = run(world, world.config(objective={"magnitude": magnitude}), 1)
    assert set(state.spread_G.tolist()) == {state.spread_G[0].item()}
    assert state.limits_T.tolist() == pytest.approx([FIRST_LIMIT] * len(state.limits_T))


def test_negatives_are_common_to_a_round_and_change_between_rounds(world):
    config = world.config(objective={"loss": "sampled"})
    state = first_state(config, 500)
    one, same_round = (make_broadcast(state, config).negatives for _ in range(2))
    next_round = make_broadcast(state._replace(round=1), config).negatives
    assert one is not None and same_round is not None and next_round is not None
    assert torch.equal(one, same_round)
    assert not torch.equal(one, next_round)


@pytest.mark.parametrize(
    ("objective", "items", "sampled"),
    [
        ({"loss": "auto"}, 20_000, False),
        ({"loss": "auto"}, 20_001, True),
        ({"loss": "auto", "full_limit": 10, "negatives": 50}, 50, False),
        ({"loss": "full"}, 10**6, False),
        ({"loss": "sampled", "negatives": 12}, 12, False),
        ({"loss": "sampled", "negatives": 12}, 13, True),
    ],
)
def test_when_the_loss_is_sampled(world, objective, items, sampled):
    assert uses_sampled_loss(world.config(objective=objective), items) is sampled


def test_by_epochs_nobody_sends_more_than_anybody_else(world):
    config = world.config(federated={"cohort": 4, "sampling": "epochs"})
    state, sent = first_state(config, world.catalogue), np.zeros(len(EVERYBODY), int)

    def train(broadcast, people):
        sent[people] += 1
        return world.trainer(config)(broadcast, people)

    for _ in range(6):
        state, _ = run_round(state, EVERYBODY, train, config)
    assert sent.tolist() == [3] * 6
