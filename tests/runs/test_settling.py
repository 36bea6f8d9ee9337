"""What ``auto`` comes to: a run settles it by its data, once, and writes the number down."""

import pytest

from pfsr.runs.settling import dropout_for
from pfsr.runs.train import reopen_run


@pytest.mark.parametrize(("events", "share"), [(0, 0.5), (8, 0.5), (22.6, 0.35), (64, 0.2), (100_000, 0.2)])
def test_the_fewer_events_people_have_the_more_is_silenced(events, share):
    assert dropout_for(events) == share


def test_between_the_ends_it_falls_with_every_event():
    shares = [dropout_for(events) for events in range(9, 64, 5)]
    assert shares == sorted(set(shares), reverse=True)


def test_a_run_writes_down_the_number_that_its_data_ask_for(make_run):
    run = make_run()
    events = run.bench.split.train_ends.mean()
    assert 8 < events < 20, "the tiny world's people have few events each"
    assert run.config.model.dropout == dropout_for(events)
    assert reopen_run(run.folder).config == run.config


def test_a_number_that_is_given_stays(make_run):
    assert make_run(model={"dropout": 0.05}).config.model.dropout == 0.05
