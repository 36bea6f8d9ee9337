"""Variable Response: private per-person offsets, the sites where they act, how strongly they respond.

A person's offsets e are one flat vector (a few hundred floats); zero means the global model. They act on
the step bias, skip and output scale of every Associative Mamba Block (and on its gate bias where it reads
the flipped state), and on the final query (scale and vector); under another encoder on the query alone.
Source: "Personalized Federated Sequential Recommender" (arXiv 2603.22349), Variable Response Mechanism;
Fisher-driven personalization as in FedDPA (NeurIPS 2023).

Shapes: B clients, S offsets in all.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from pfsr.config import ModelConfig
from pfsr.model.amb import Weights

USER, HEAD = "user", "head"
"""Sites that have no shared counterpart: a vector added to the query, and a linear map of it, flat [d d]."""


@dataclass(frozen=True)
class Sites:
    """The layout of the flat offset vector: names and sizes of the sites, in order.

    Each site is one group with one population spread tau^2 (Dynamic Magnitude Loss).
    """

    names: tuple[str, ...]
    sizes: tuple[int, ...]

    @property
    def total(self) -> int:
        """Offsets per person."""
        return sum(self.sizes)

    def split(self, flat_BS: Tensor) -> Weights:
        """Return one view [B, size] per site."""
        return dict(zip(self.names, flat_BS.split(self.sizes, -1), strict=True))

    def spread(self, per_group: Tensor) -> Tensor:
        """Repeat one number per group over that group's offsets: [..., groups] -> [..., S]."""
        return per_group.repeat_interleave(torch.tensor(self.sizes, device=per_group.device), -1)

    def group_means(self, flat_BS: Tensor) -> Tensor:
        """Average within each group: [B, S] -> [B, groups]."""
        return torch.stack([part.mean(-1) for part in flat_BS.split(self.sizes, -1)], -1)


def response_sites(config: ModelConfig) -> Sites:
    """Return where offsets act in a model of this shape (see ``ModelConfig.sites``)."""
    if config.sites == "head":
        return Sites((HEAD,), (config.d_model**2,))
    in_blocks = config.sites == "response" and config.encoder == "amb"
    sites = _block_sites(config) if in_blocks else {}
    sites |= {"scale": config.d_model, USER: config.d_model}
    return Sites(tuple(sites), tuple(sites.values()))


def _block_sites(config: ModelConfig) -> dict[str, int]:
    inner = config.d_model * config.expand
    block = {"step_bias": config.heads, "skip": inner, "out_scale": config.d_model}
    if config.view == "associative":
        block["gate_bias"] = config.heads
    return {f"blocks.{i}.{name}": size for i in range(config.blocks) for name, size in block.items()}


def respond(weights: Weights, offsets: Weights) -> Weights:
    """Return each person's weights: the shared ones plus the person's offsets, [B, ...] at the sites."""
    personal = {name: weights[name] + offset for name, offset in offsets.items() if name in weights}
    return weights | offsets | personal


def response_strength(events_B: Tensor, fisher_BS: Tensor, spread_S: Tensor) -> Tensor:
    """Return r = T F / (T F + 1 / tau^2), in [0, 1): how much a person's own data says about each offset."""
    evidence = events_B[:, None] * fisher_BS
    return evidence / (evidence + 1 / spread_S)


def posterior_variance(events_B: Tensor, fisher_BS: Tensor, spread_S: Tensor) -> Tensor:
    """Return 1 / (T F + 1 / tau^2): what remains unknown about each offset."""
    return 1 / (events_B[:, None] * fisher_BS + 1 / spread_S)
