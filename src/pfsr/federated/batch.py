"""A few clients' training events, side by side: right-padded, each with a seed of its own.

A batch of one is what a device trains on; a batch of many is how the simulator is fast.
Shapes: B clients, L events.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

RECENT = 0.5
"""How often a long history contributes its most recent stretch."""


class ClientBatch(NamedTuple):
    """What clients train on. Padding is row 0, on the right.

    Attributes:
        items_BL: int64, the events read.
        targets_BL: int64, the event after each.
        lengths: how many events of each client are real.
        events_B: float32, how many events each client has to learn from in all, beyond the window too.
        seeds: one per client, for every random choice of this participation.
        before: each client's training events before those read, oldest first.
    """

    items_BL: Tensor
    targets_BL: Tensor
    lengths: list[int]
    events_B: Tensor
    seeds: list[int]
    before: Sequence[np.ndarray]


def client_batch(histories: Sequence[np.ndarray], seeds: list[int], window: int) -> ClientBatch:
    """Return the batch of ``histories`` (training events, oldest first, two at least).

    A history longer than ``window`` + 1 events contributes one stretch of it: half of the time the most
    recent one, else a stretch drawn from the client's seed, so that old events are learnt from too.
    """
    starts = [_start(len(h), seed, window) for h, seed in zip(histories, seeds, strict=True)]
    stretches = [h[start : start + window + 1] for h, start in zip(histories, starts, strict=True)]
    lengths = [len(s) - 1 for s in stretches]
    items = np.zeros((2, len(stretches), max(lengths)), dtype=np.int64)
    for row, stretch in enumerate(stretches):
        items[0, row, : lengths[row]] = stretch[:-1]
        items[1, row, : lengths[row]] = stretch[1:]
    inputs, targets = torch.from_numpy(items)
    events = torch.tensor([len(h) - 1 for h in histories], dtype=torch.float32)
    before = [h[:start] for h, start in zip(histories, starts, strict=True)]
    return ClientBatch(inputs, targets, lengths, events, list(seeds), before)


def _start(events: int, seed: int, window: int) -> int:
    spare = events - (window + 1)
    if spare <= 0:
        return 0
    random = np.random.default_rng(seed)
    return spare if random.random() < RECENT else int(random.integers(spare + 1))
