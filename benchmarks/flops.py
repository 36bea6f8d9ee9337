"""Matrix-product FLOPs of one participation, counted by hand; a multiply and an add are two.

Only what training cannot do without is counted: forward and backward of every matrix product, for real
events alone. Elementwise work, the optimizer and padding are left out, so the count is a floor.

Shapes: T events of one client, d = d_model, D inner width, N state columns, H heads, Q events a chunk,
r the flip horizon, I items.
"""

from pfsr.config import ModelConfig
from pfsr.model.scan import CHUNK

FORWARD_AND_BACKWARD = 3
"""A product of two tensors that both need gradients costs one product forward and two backward."""


def participation_flops(events: int, items: int, config: ModelConfig) -> dict[str, int]:
    """Return the FLOPs of one local step of one client with ``events`` events, full softmax, by part."""
    per_event = {"projections": projection_flops(config), "scan": scan_flops(config)}
    parts = {name: FORWARD_AND_BACKWARD * config.blocks * events * flops for name, flops in per_event.items()}
    # Row 0 of the item table is padding, but it takes part in the products.
    return parts | {"softmax": FORWARD_AND_BACKWARD * 2 * events * (items + 1) * config.d_model}


def projection_flops(config: ModelConfig) -> int:
    """Return forward FLOPs per event of one block's two projections: d x (2 D + 2 N + H ...), D x d."""
    d, inner, n, heads = config.d_model, config.d_model * config.expand, config.d_state, config.heads
    flipped = n + heads if config.view == "associative" else 0
    return 2 * d * (2 * inner + 2 * n + heads + flipped) + 2 * inner * d


def scan_flops(config: ModelConfig) -> int:
    """Return forward FLOPs per event of one block's scan: within chunks (Q) and from chunk to chunk (N).

    Forward view: C B^T (Q N), its product with the keys (Q D), new states (N D), reading them (N D).
    The flipped view has the same four for the far prefix, and the first two for the near events.
    """
    inner, n = config.d_model * config.expand, config.d_state
    within, across = CHUNK * (n + inner), 2 * n * inner
    if config.view == "forward":
        return 2 * (within + across)
    near = (CHUNK + config.horizon - 1) * (n + inner)
    return 2 * (2 * (within + across) + near)
