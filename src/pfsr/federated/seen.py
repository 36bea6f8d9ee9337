"""What a person has already, event by event: the ranking leaves it out, so the loss may too.

Shapes: B clients, L events, T events of one client, P pairs of an event and an item, K items or negatives.
"""

import numpy as np
import torch
from torch import Tensor

from pfsr.federated.batch import ClientBatch
from pfsr.federated.view import View
from pfsr.model.objective import Seen


def seen_items(batch: ClientBatch, view: View) -> list[Seen]:
    """Return each client's items up to and including every event, as rows of its local item table.

    Against sampled negatives only those among the negatives are named: nothing else competes.
    """
    place = None if view.rows_BM is None else _places(view.rows_BM[0, : view.negatives], view.catalogue)
    return [_of_one(batch, client, place) for client in range(len(batch.lengths))]


def _of_one(batch: ClientBatch, client: int, place: np.ndarray | None) -> Seen:
    length = batch.lengths[client]
    before_K, read_T = np.unique(batch.before[client]), batch.items_BL[client, :length].numpy()
    if place is not None:
        before_K, read_T = place[before_K], place[read_T]
    events_P, columns_P = np.nonzero(np.tril(np.ones((length, length), bool)) & (read_T >= 0))
    parts = before_K[before_K >= 0], events_P, read_T[columns_P]
    return Seen(*(torch.from_numpy(part.astype(np.int64)) for part in parts))


def _places(negatives_K: Tensor, catalogue: int) -> np.ndarray:
    """Return where each item of the catalogue stands among the negatives, -1 for those that do not."""
    place = np.full(catalogue + 1, -1)
    place[negatives_K.numpy()] = np.arange(len(negatives_K))
    return place
