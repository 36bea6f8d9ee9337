"""Which tensors are shared and which are private.

Shared: the weights of the model (they travel in a ``Broadcast`` and, as movements, in ``Updates``).
Private: what is in ``Private``; no type that leaves a device has a field for it.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from pfsr.model.response import Sites


class Private(NamedTuple):
    """What never leaves a device, for B people.

    Attributes:
        offsets_BS: where the personal model differs from the global one; 0 for a new person.
        fisher_BS: Fisher information of those offsets, per event; 0 where nothing is known yet.
        rounds_B: float32, how often the person took part.
    """

    offsets_BS: Tensor
    fisher_BS: Tensor
    rounds_B: Tensor


def new_private(people: int, sites: Sites) -> Private:
    """Return the private parameters of people who never took part: the global model."""
    return Private(torch.zeros(people, sites.total), torch.zeros(people, sites.total), torch.zeros(people))
