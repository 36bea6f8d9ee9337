"""Made-up titles for the synthetic world: plainly synthetic, yet readable."""

import numpy as np

GENRES = (
    "Comedy", "Thriller", "Western", "Romance", "Space Opera", "Documentary",
    "Musical", "Mystery", "Animation", "Horror", "War Story", "Adventure",
)  # fmt: skip
FIRST = (
    "Quiet", "Golden", "Hidden", "Paper", "Silver", "Distant", "Broken", "Crimson", "Winter", "Velvet",
    "Wandering", "Electric", "Forgotten", "Hollow", "Northern", "Patient", "Restless", "Second", "Tender",
    "Wooden",
)  # fmt: skip
SECOND = (
    "Harbour", "Orchard", "Signal", "Garden", "Compass", "Letter", "River", "Lantern", "Bridge", "Station",
    "Mirror", "Island", "Promise", "Carnival", "Window", "Mountain", "Engine", "Voyage", "Shadow", "Market",
)  # fmt: skip


def series_titles(genre: int, number: int, parts: int, rng: np.random.Generator) -> list[str]:
    """Return the titles of one series, such as ``Synthetic Comedy 12: The Quiet Harbour, Part 2``."""
    first, second = FIRST[rng.integers(len(FIRST))], SECOND[rng.integers(len(SECOND))]
    title = f"Synthetic {GENRES[genre % len(GENRES)]} {number}: The {first} {second}"
    return [title if part == 1 else f"{title}, Part {part}" for part in range(1, parts + 1)]
