"""What a person has already, against a loop over events."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pfsr.federated.batch import client_batch
from pfsr.federated.seen import seen_items
from pfsr.federated.view import Broadcast, receive
from pfsr.model.encoder import ITEM_BIAS, ITEMS

CATALOGUE = 30
HISTORIES = st.lists(
    st.lists(st.integers(1, CATALOGUE), min_size=2, max_size=20).map(lambda h: np.array(h, np.int32)),
    min_size=1,
    max_size=4,
)
NEGATIVES = torch.tensor([7, 3, 29, 11, 1])


def broadcast(negatives: torch.Tensor | None) -> Broadcast:
    weights = {ITEMS: torch.zeros(CATALOGUE + 1, 2), ITEM_BIAS: torch.zeros(CATALOGUE + 1)}
    return Broadcast(weights, torch.zeros(0), torch.zeros(2), 0, negatives)


@pytest.mark.parametrize("negatives", [None, NEGATIVES])
@given(HISTORIES, st.integers(1, 6), st.integers(0, 2**40))
def test_every_event_names_all_items_up_to_itself_also_those_before_the_window(
    negatives, histories, window, seed
):
    batch = client_batch(histories, [seed + i for i in range(len(histories))], window)
    pairs = seen_items(batch, receive(broadcast(negatives), batch))
    rows = list(range(CATALOGUE + 1)) if negatives is None else negatives.tolist()
    for client, history in enumerate(histories):
        start, found = len(batch.before[client]), pairs[client]
        assert found.events_P.tolist() == sorted(found.events_P.tolist())
        for event in range(batch.lengths[client]):
            local = found.always_K.tolist() + found.rows_P[found.events_P == event].tolist()
            named = {rows[row] for row in local}
            assert named == set(history[: start + event + 1].tolist()) & set(rows)
