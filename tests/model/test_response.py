import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pfsr.config import ModelConfig
from pfsr.model.encoder import ITEMS, embed, encode
from pfsr.model.response import (
    USER,
    Sites,
    posterior_variance,
    respond,
    response_sites,
    response_strength,
)


@st.composite
def layouts(draw):
    sizes = draw(st.lists(st.integers(1, 6), min_size=1, max_size=8))
    return Sites(tuple(f"site {i}" for i in range(len(sizes))), tuple(sizes))


@given(layouts(), st.integers(1, 4), st.integers(0, 2**31))
def test_split_keeps_everything_in_order(sites, people, seed):
    flat = torch.randn(people, sites.total, generator=torch.Generator().manual_seed(seed))
    parts = sites.split(flat)
    assert {n: tuple(p.shape) for n, p in parts.items()} == {
        n: (people, size) for n, size in zip(sites.names, sites.sizes, strict=True)
    }
    assert torch.equal(torch.cat(list(parts.values()), -1), flat)


@given(layouts(), st.integers(0, 2**31))
def test_group_means_undo_a_spread_over_groups(sites, seed):
    random = torch.Generator().manual_seed(seed)
    per_group = torch.rand(2, len(sites.names), generator=random)
    repeated = sites.spread(per_group)
    assert repeated.shape == (2, sites.total)
    torch.testing.assert_close(sites.group_means(repeated), per_group)
    values = torch.rand(2, sites.total, generator=random)
    by_hand = torch.stack([part.mean(1) for part in sites.split(values).values()], 1)
    torch.testing.assert_close(sites.group_means(values), by_hand)


def test_sites_are_where_the_design_puts_them(config):
    names = ["step_bias", "skip", "out_scale"] + ["gate_bias"] * (config.view == "associative")
    expected = [f"blocks.{i}.{name}" for i in range(2) for name in names] + ["scale", "user"]
    sites = response_sites(config)
    assert list(sites.names) == expected
    assert dict(zip(sites.names, sites.sizes, strict=True))["blocks.1.step_bias"] == 2
    assert sites.total == (100 if config.view == "forward" else 104)


def test_offset_zero_is_the_global_model(config, weights_of, histories):
    weights, items, sites = weights_of(config), histories(3, 20), response_sites(config)
    x_BLd = embed(weights[ITEMS], items)
    offsets = sites.split(torch.zeros(3, sites.total).double())
    personal = encode(respond(weights, offsets), x_BLd, items > 0, config)
    everybody = encode(weights, x_BLd, items > 0, config)
    torch.testing.assert_close(personal, everybody, rtol=1e-12, atol=1e-12)


def test_every_offset_moves_its_own_person_and_nobody_else(config, weights_of, histories):
    weights, items, sites = weights_of(config), histories(2, 20), response_sites(config)
    x_BLd = embed(weights[ITEMS], items)
    flat = torch.zeros(2, sites.total).double().requires_grad_()
    personal = encode(respond(weights, sites.split(flat)), x_BLd, items > 0, config)
    (gradient,) = torch.autograd.grad((personal[0] ** 3).sum(), flat)
    assert float(gradient[0].abs().min()) > 0
    assert float(gradient[1].abs().max()) == 0


def test_responding_changes_no_shared_weight(config, weights_of):
    weights, sites = weights_of(config), response_sites(config)
    before = {name: w.clone() for name, w in weights.items()}
    flat = torch.ones(2, sites.total).double()
    personal = respond(weights, sites.split(flat))
    assert all(torch.equal(before[name], w) for name, w in weights.items())
    assert USER not in weights
    torch.testing.assert_close(personal["scale"][1], weights["scale"] + 1)


@given(
    events=st.floats(1, 1e4),
    fisher=st.floats(0, 1e4),
    spread=st.floats(1e-4, 1),
    more=st.floats(1.01, 100),
)
def test_strength_is_in_0_1_and_rises_with_events_and_information(events, fisher, spread, more):
    def strength(t: float, f: float, s: float) -> float:
        one = [torch.tensor([v], dtype=torch.float64) for v in (t, f, s)]
        return float(response_strength(one[0], one[1][None], one[2]))

    base = strength(events, fisher, spread)
    assert 0 <= base < 1
    assert base == pytest.approx(events * fisher / (events * fisher + 1 / spread), rel=1e-12)
    assert strength(events * more, fisher, spread) >= base
    assert strength(events, fisher * more, spread) >= base
    assert strength(events, fisher, spread * more) >= base
    if fisher > 1e-3:
        assert strength(events * more, fisher, spread) > base


def test_what_remains_unknown_shrinks_from_the_spread_as_events_come_in():
    events = torch.tensor([1.0, 10.0, 100.0])
    spread = torch.tensor([0.5])
    unknown = posterior_variance(events, torch.zeros(3, 1), spread)
    torch.testing.assert_close(unknown, torch.full((3, 1), 0.5))
    informed = posterior_variance(events, torch.ones(3, 1), spread)[:, 0]
    torch.testing.assert_close(informed, torch.tensor([1 / 3, 1 / 12, 1 / 102]))


def test_model_without_flipped_view_has_no_gate_site():
    sites = response_sites(ModelConfig(d_model=16, heads=2, blocks=1, view="forward"))
    assert not any("gate" in name for name in sites.names)


@pytest.mark.parametrize("encoder", ["sasrec", "gru4rec", "mamba4rec", "lrurec"])
def test_under_another_encoder_offsets_act_on_the_query_alone(encoder):
    sites = response_sites(ModelConfig(encoder=encoder, d_model=16, heads=2, expand=2))
    assert (sites.names, sites.sizes) == (("scale", "user"), (16, 16))
