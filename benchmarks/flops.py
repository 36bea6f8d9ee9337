"""Matrix-product FLOPs, counted by hand; a multiply and an add are two.

Only what cannot be done without is counted: every matrix product, for real events alone. Elementwise work,
the optimizer and padding are left out, so the count is a floor.

Shapes: T events of one client, L events of a sequence, d = d_model, D inner width, N state columns, H heads,
Q events a chunk, r the flip horizon, I items.
"""

from pfsr.config import ModelConfig
from pfsr.model.scan import CHUNK, chunk_size

FORWARD_AND_BACKWARD = 3
"""A product of two tensors that both need gradients costs one product forward and two backward."""


def participation_flops(events: int, items: int, config: ModelConfig) -> dict[str, int]:
    """Return the FLOPs of one local step of one client with ``events`` events, full softmax, by part."""
    per_event = {
        "projections": projection_flops(config),
        "scan": scan_flops(config, chunk_size(events)),
    }
    parts = {name: FORWARD_AND_BACKWARD * config.blocks * events * flops for name, flops in per_event.items()}
    # Row 0 of the item table is padding, but it takes part in the products.
    return parts | {"softmax": FORWARD_AND_BACKWARD * 2 * events * (items + 1) * config.d_model}


def projection_flops(config: ModelConfig) -> int:
    """Return forward FLOPs per event of one block's two projections: d x (2 D + 2 N + H ...), D x d."""
    d, inner, n, heads = config.d_model, config.d_model * config.expand, config.d_state, config.heads
    flipped = n + heads if config.view == "associative" else 0
    return 2 * d * (2 * inner + 2 * n + heads + flipped) + 2 * inner * d


def scan_flops(config: ModelConfig, chunk: int = CHUNK) -> int:
    """Return forward FLOPs per event of one block's scan: within chunks (Q) and from chunk to chunk (N).

    Forward view: C B^T (Q N), its product with the keys (Q D), new states (N D), reading them (N D).
    The flipped view has the same four for the far prefix. Its near events share one read with the forward
    view: two queries an event, which meet Q + r - 1 sources and the state.
    """
    inner, n = config.d_model * config.expand, config.d_state
    within, across = chunk * (n + inner), 2 * n * inner
    if config.view == "forward":
        return 2 * (within + across)
    met = chunk + config.horizon - 1
    both = 2 * (met * (n + inner) + n * inner) + n * inner
    return 2 * (within + across + both)


def needed_scan_flops(config: ModelConfig, chunk: int = CHUNK) -> float:
    """Return what of :func:`scan_flops` causality needs: in a chunk what lies before, near r events."""
    inner, n = config.d_model * config.expand, config.d_state
    within, across = causal_keys(chunk) * (n + inner), 2 * n * inner
    if config.view == "forward":
        return 2 * (within + across)
    return 2 * (2 * (within + across) + config.horizon * (n + inner))


def ffn_flops(d_model: int, expand: int) -> int:
    """Return forward FLOPs per event of a feed-forward network ``expand`` times as wide as the model."""
    return 2 * 2 * expand * d_model**2


def attention_flops(d_model: int, keys: float) -> float:
    """Return forward FLOPs per event of self-attention when a query meets ``keys`` keys on average.

    Query, key, value and output projections (4 d^2), scores and their product with the values (2 d each key).
    """
    return 2 * (4 * d_model**2 + 2 * d_model * keys)


def causal_keys(length: int) -> float:
    """Return how many keys a causal query needs on average: itself and those before it."""
    return (length + 1) / 2


def computed_keys(length: int) -> float:
    """Return how many keys torch's CPU kernel multiplies a query with on average.

    It takes queries in blocks of 32, 64 (from 192 events) or 256 (from 768) and skips the keys behind each
    block's last query, not those inside the block.
    """
    block = 256 if length >= 768 else 64 if length >= 192 else 32
    starts = range(0, length, block)
    return sum(min(block, length - start) * min(start + block, length) for start in starts) / length
