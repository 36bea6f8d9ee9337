import pytest
import torch

from pfsr.config import ModelConfig
from pfsr.model.encoder import ITEMS, embed, encode
from pfsr.model.encoders.positions import POSITIONS, positions

REAL = [
    [1, 1, 1, 1, 1, 1],
    [1, 1, 0, 0, 0, 0],
    [0, 0, 1, 1, 1, 0],
]
PLACES = [
    [0, 1, 2, 3, 3, 3],
    [0, 1],
    [0, 1, 2],
]


@pytest.mark.parametrize("per_client", [False, True])
def test_places_count_from_the_first_event_and_the_last_row_serves_the_rest(per_client):
    tables = torch.randn(3, 4, 5, generator=torch.Generator().manual_seed(0))
    real_BL = torch.tensor(REAL) > 0
    found = positions(tables if per_client else tables[0], real_BL)
    assert found.shape == (3, 6, 5)
    for client, places in enumerate(PLACES):
        table = tables[client] if per_client else tables[0]
        assert torch.equal(found[client, real_BL[client]], table[places])


def test_the_same_events_at_other_places_give_other_queries(weights_of, histories):
    config = ModelConfig(encoder="sasrec", d_model=16, blocks=1, positions=8)
    weights, items = weights_of(config), histories(1, 1).expand(1, 10)

    def read(table):
        changed = weights | {POSITIONS: table}
        return encode(changed, embed(weights[ITEMS], items), items > 0, config)

    queries = read(weights[POSITIONS])
    assert not torch.allclose(queries[:, 0], queries[:, 1])
    moved = weights[POSITIONS].clone()
    moved[5] += 1
    torch.testing.assert_close(read(moved)[:, :5], queries[:, :5], rtol=1e-12, atol=1e-12)
    assert not torch.allclose(read(moved)[:, 5], queries[:, 5])
