"""The index of a large catalogue: built once, where the model is exported; devices map the file.

Shapes: B histories, L events, I items, d = d_model.
"""

from pathlib import Path

import numpy as np
import torch

from pfsr.device.manifest import IndexFacts
from pfsr.device.ranking import NeighbourIndex, Told, measured_expansion, unheard
from pfsr.export.tables import random_histories
from pfsr.model.encoder import ITEM_BIAS, ITEMS, embed, encode
from pfsr.model.recommender import Recommender

QUERIES = 100
"""Random histories after which the index's recall is measured."""


def write_index(model: Recommender, folder: Path, tell: Told = unheard) -> IndexFacts:
    """Write the index of all items into ``folder``, telling of it; return how wide it is to be searched.

    The width is the least at which the measured recall@10, over the model's queries after random histories,
    is high enough.

    Raises:
        PfsrError: usearch is not installed.
    """
    items_Id, bias_I = model.weights[ITEMS].numpy(), model.weights[ITEM_BIAS].numpy()
    index = NeighbourIndex.build(items_Id[1:], bias_I[1:], tell)
    index.save(folder)
    padding = np.where(np.arange(len(bias_I)), 0, -np.inf).astype(np.float32)
    expansion, recall = measured_expansion(
        index, _queries(model), lambda query_d: items_Id @ query_d + bias_I + padding
    )
    return IndexFacts(expansion=expansion, recall=recall)


@torch.no_grad()
def _queries(model: Recommender) -> np.ndarray:
    rows_BL = torch.from_numpy(random_histories(len(model.catalog), QUERIES))
    x_BLd = embed(model.weights[ITEMS], rows_BL)
    return encode(model.weights, x_BLd, rows_BL > 0, model.config)[:, -1].numpy()
