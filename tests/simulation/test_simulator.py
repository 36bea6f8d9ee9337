"""The batched simulator is the plain loop over clients, only faster."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from pfsr.federated.batch import client_batch
from pfsr.federated.rounds import first_state, make_broadcast, run_round
from pfsr.simulation import simulator as module
from pfsr.simulation.simulator import Simulator, available_cores, one_thread_each

SWITCHES = {
    "one step": {},
    "three steps": {"federated": {"local_steps": 3}},
    "sampled": {"objective": {"loss": "sampled"}},
    "sampled, three steps": {"objective": {"loss": "sampled"}, "federated": {"local_steps": 3}},
    "everything competes": {"objective": {"seen": "kept"}},
    "flipped, hard": {"model": {"view": "associative"}, "response": {"mode": "hard"}},
    "off": {"response": {"mode": "off"}},
}


def trained(world, path, config, sequences=None, **how):
    """Return the server's state and everybody's private parameters after three rounds."""
    population = world.population(path, config, sequences)
    state, _ = world.run(Simulator(population, config, **how), 3)
    return state, population.private.read(np.arange(len(world.sequences)))


def assert_near(one, two, relative: float) -> None:
    (state, private), (other_state, other_private) = one, two
    for name, weight in state.weights.items():
        scale = float(weight.abs().max())
        torch.testing.assert_close(weight, other_state.weights[name], rtol=relative, atol=relative * scale)
    torch.testing.assert_close(state.spread_G, other_state.spread_G, rtol=relative, atol=0)
    for mine, yours in zip(private, other_private, strict=True):
        torch.testing.assert_close(
            mine, yours, rtol=relative, atol=relative * max(1, float(mine.abs().max()))
        )


@pytest.mark.parametrize("switches", SWITCHES.values(), ids=SWITCHES.keys())
def test_batches_on_threads_are_the_loop_over_clients(world, tmp_path, switches):
    config = world.config(**switches)
    batched = trained(world, tmp_path / "batched", config, batch=32, threads=2)
    loop = trained(world, tmp_path / "loop", config, batch=1, threads=1)
    assert_near(batched, loop, 1e-5)
    start = first_state(config, world.items).weights
    assert not torch.allclose(start["items"], batched[0].weights["items"])


@pytest.mark.parametrize("loss", ["full", "sampled"])
def test_what_lies_before_the_window_is_left_out_alike_in_batches_and_one_by_one(
    world, tmp_path, monkeypatch, loss
):
    config = world.config(federated={"window": 4}, objective={"loss": loss, "seen": "left_out"})
    assert np.mean(world.train_ends > 5) > 0.6
    batched = trained(world, tmp_path / "batched", config, batch=32, threads=2)
    loop = trained(world, tmp_path / "loop", config, batch=1, threads=1)
    assert_near(batched, loop, 1e-5)

    def forgetful(*how):
        batch = client_batch(*how)
        return batch._replace(before=[history[:0] for history in batch.before])

    monkeypatch.setattr(module, "client_batch", forgetful)
    forgot = trained(world, tmp_path / "forgot", config, batch=32, threads=2)
    assert not torch.allclose(forgot[0].weights["items"], batched[0].weights["items"], rtol=1e-3, atol=1e-5)


def test_the_number_of_threads_changes_not_one_bit(world, tmp_path):
    config = world.config(federated={"server": "fedadam", "server_rate": 3e-3})
    one, two = (
        trained(world, tmp_path / str(threads), config, batch=4, threads=threads) for threads in (1, 3)
    )
    assert all(torch.equal(w, two[0].weights[name]) for name, w in one[0].weights.items())
    assert all(torch.equal(mine, yours) for mine, yours in zip(one[1], two[1], strict=True))


def poisoned(world):
    """The same histories, except that every held-out event is an item that does not exist."""
    items = world.sequences.items.copy()
    times = world.sequences.times.copy()
    for person, end in enumerate(world.train_ends):
        start, stop = world.sequences.offsets[person : person + 2]
        items[start + end : stop] = 10**6
        times[start + end : stop] = -1
    return replace(world.sequences, items=items, times=times)


@pytest.mark.parametrize("loss", ["full", "sampled"])
def test_nothing_at_or_after_the_end_of_training_is_read(world, tmp_path, loss):
    config = world.config(objective={"loss": loss})
    honest = trained(world, tmp_path / "honest", config)
    poison = trained(world, tmp_path / "poison", config, poisoned(world))
    assert all(torch.equal(w, poison[0].weights[name]) for name, w in honest[0].weights.items())
    assert all(torch.equal(mine, yours) for mine, yours in zip(honest[1], poison[1], strict=True))


def test_training_events_are_read(world, tmp_path):
    config = world.config()
    items = world.sequences.items % world.items + 1
    honest = trained(world, tmp_path / "honest", config)
    other = trained(world, tmp_path / "other", config, replace(world.sequences, items=items))
    assert not torch.equal(honest[0].weights["items"], other[0].weights["items"])


def test_clients_that_do_not_answer_keep_their_private_rows_and_are_not_counted(world, tmp_path):
    config = world.config(federated={"unavailable": 0.6})
    population = world.population(tmp_path / "private", config)
    simulator, asked = Simulator(population, config, batch=7), []

    def train(broadcast, people):
        asked.append(people)
        return simulator(broadcast, people)

    _, report = run_round(first_state(config, world.items), world.clients, train, config)
    rounds = population.private.read(np.arange(len(world.sequences))).rounds_B.numpy()
    offsets = population.private.read(np.arange(len(world.sequences))).offsets_BS.numpy()
    silent = np.setdiff1d(np.arange(len(world.sequences)), asked[0])
    assert 0 < len(asked[0]) < 30
    assert (report.clients, report.silent) == (len(asked[0]), 30 - len(asked[0]))
    assert rounds[asked[0]].tolist() == [1] * len(asked[0])
    assert not rounds[silent].any() and not offsets[silent].any()
    assert offsets[asked[0]].any(1).all()
    assert population.private.changed()[0].tolist() == sorted(asked[0].tolist())


def test_a_group_keeps_each_person_with_its_own_private_row(world, tmp_path):
    """People are sorted by length inside a round; their rows must not be swapped by it."""
    config = world.config()
    people = world.clients[:9]
    broadcast = make_broadcast(first_state(config, world.items), config)
    together, alone = (world.population(tmp_path / name, config) for name in ("together", "alone"))
    Simulator(together, config, batch=4)(broadcast, people)
    for person in people[::-1]:
        Simulator(alone, config, batch=1)(broadcast, np.array([person]))
    mine, yours = (population.private.read(people) for population in (together, alone))
    torch.testing.assert_close(mine.offsets_BS, yours.offsets_BS, rtol=1e-4, atol=1e-6)
    assert len({tuple(row) for row in mine.offsets_BS.tolist()}) == len(people)


def test_adapting_moves_private_rows_of_the_people_named_and_counts_no_participation(world, tmp_path):
    config = world.config()
    population = world.population(tmp_path / "private", config)
    broadcast = make_broadcast(first_state(config, world.items), config)
    weights = {name: w.clone() for name, w in broadcast.weights.items()}
    chosen = world.clients[3:12]
    Simulator(population, config, batch=4).adapt(broadcast, chosen)
    after = population.private.read(np.arange(len(world.sequences)))
    moved = np.flatnonzero(after.offsets_BS.any(1).numpy())
    assert moved.tolist() == sorted(chosen.tolist())
    assert not after.rounds_B.any()
    assert all(torch.equal(w, weights[name]) for name, w in broadcast.weights.items())


@pytest.fixture
def two_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def test_one_thread_each_gives_the_threads_back_even_after_a_failure(two_threads):
    with pytest.raises(RuntimeError, match="stop"), one_thread_each():
        assert torch.get_num_threads() == 1
        raise RuntimeError("stop")
    assert torch.get_num_threads() == 2


def test_there_is_a_core_to_run_on():
    assert available_cores() >= 1
