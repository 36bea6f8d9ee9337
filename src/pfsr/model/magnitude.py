"""Dynamic Magnitude Loss: what keeps personal signal from being washed out by federated training.

    J = mean_t loss_t + (1 / 2T) sum_groups |e_group|^2 / tau^2_group         the personal objective
    tau^2 <- clip(0.8 tau^2 + 0.2 mean over clients of mean_k(e_k^2 + posterior variance_k), 1e-4, 1)
    every shared movement is projected to |delta| <= c |theta|; c follows a quantile over the clients

The pull 1 / tau^2 is what is dynamic: where people differ it relaxes, where offsets are noise it tightens.
Clients contribute one clipped number per group and one bit per tensor to sums, never their offsets.
Source: "Personalized Federated Sequential Recommender" (arXiv 2603.22349), Dynamic Magnitude Loss; the
quantile rule: "Differentially Private Learning with Adaptive Clipping" (1905.03871).

Shapes: B clients, S offsets, G site groups, T shared tensors (in the order of the weights).
"""

import torch
from torch import Tensor

from pfsr.config import ObjectiveConfig
from pfsr.model.response import Sites, posterior_variance
from pfsr.model.thin import Moved, norms, scale

FIRST_LIMIT = 1e-3
"""c before anybody took part; low, since it rises faster than it falls."""

FREE_SPREAD = 1e3
"""tau^2 without the loss (``off``): practically no pull."""

LEAST_SPREAD, MOST_SPREAD = 1e-4, 1.0


def offset_spread(spread_G: Tensor, sites: Sites, config: ObjectiveConfig) -> Tensor:
    """Return tau^2 of every offset [S]: dynamic, constant (``prox``) or practically infinite (``off``)."""
    if config.magnitude == "dynamic":
        return sites.spread(spread_G)
    constant = 1 / config.prox if config.magnitude == "prox" else FREE_SPREAD
    return torch.full((sites.total,), constant)


def pull(offsets_BS: Tensor, events_B: Tensor, spread_S: Tensor) -> Tensor:
    """Return the gradient of the pull (1 / 2T) |e|^2 / tau^2."""
    return offsets_BS / (events_B[:, None] * spread_S)


def spread_contribution(
    offsets_BS: Tensor, fisher_BS: Tensor, events_B: Tensor, spread_S: Tensor, sites: Sites
) -> Tensor:
    """Return each client's number per group [B, G]: mean_k(e_k^2 + posterior variance_k), clipped."""
    squares = offsets_BS**2 + posterior_variance(events_B, fisher_BS, spread_S)
    return sites.group_means(squares).clamp(LEAST_SPREAD, MOST_SPREAD)


def next_spread(spread_G: Tensor, mean_G: Tensor) -> Tensor:
    """Let tau^2 follow the clients' mean."""
    return (0.8 * spread_G + 0.2 * mean_G).clamp(LEAST_SPREAD, MOST_SPREAD)


def project(delta: Moved, weight: Tensor, limit: Tensor) -> tuple[Moved, Tensor]:
    """Shorten every client's movement [B, ...] of one tensor to c times its norm.

    A tensor near zero counts as one with entries of size 0.02, else it could never leave zero.

    Returns:
        the movements (changed in place where written out), and 1 for each client that was under the limit.
    """
    reach = limit * weight.norm().clamp(min=0.02 * weight.numel() ** 0.5)
    norm_B = norms(delta)
    within_B = (norm_B <= reach).to(norm_B.dtype)
    scale_B = (reach / norm_B.clamp(min=1e-30)).clamp(max=1)
    return scale(delta, scale_B), within_B


def next_limits(limits_T: Tensor, within_T: Tensor, quantile: float) -> Tensor:
    """Move every c towards the value under which a share ``quantile`` of clients stays."""
    return limits_T * torch.exp(-0.3 * (within_T - quantile))
