"""Learned positions: one vector per place in the sequence, counted from its first event.

Shapes: B clients, L events, P positions, d = d_model.
Source: SASRec (arXiv 1808.09781).
"""

import torch
from torch import Tensor

from pfsr.config import ModelConfig
from pfsr.model.amb import Weights

POSITIONS = "positions"
"""Name of the table [P, d], in encoders that have one."""


def init_positions(config: ModelConfig, generator: torch.Generator) -> Weights:
    """Return a fresh table, as small as that of the items; an encoder without positions has none."""
    if config.encoder != "sasrec":
        return {}
    return {POSITIONS: torch.randn(config.positions, config.d_model, generator=generator) * 0.02}


def positions(table: Tensor, real_BL: Tensor) -> Tensor:
    """Return the vector of each event's place [B, L, d]; events beyond the table share its last row.

    Args:
        table: shared [P, d], or one per client [B, P, d].
        real_BL: true where there is an event, false at padding (on either side).
    """
    place_BL = (real_BL.cumsum(1) - 1).clamp(0, table.shape[-2] - 1)
    table_BPd = table.expand(len(real_BL), *table.shape[-2:])
    return table_BPd.gather(1, place_BL[..., None].expand(-1, -1, table.shape[-1]))
