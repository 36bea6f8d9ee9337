"""Which events a method may be fitted on."""

import numpy as np

from pfsr.data.sequences import Sequences


def in_training(sequences: Sequences, train_ends: np.ndarray) -> np.ndarray:
    """Return bool [events]: the event is among its person's first ``train_ends[person]``."""
    starts, lengths = sequences.offsets[:-1], sequences.lengths
    position = np.arange(len(sequences.items)) - np.repeat(starts, lengths)
    return position < np.repeat(train_ends, lengths)
