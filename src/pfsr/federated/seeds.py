"""Random choices without random state: seeds are derived from names, so any step can be replayed alone."""

from hashlib import blake2b


def derive(seed: int, *labels: int | str) -> int:
    """Return a 63-bit seed that depends on ``seed`` and on every label, and on nothing else."""
    text = "/".join(str(part) for part in (seed, *labels))
    return int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "little") >> 1
