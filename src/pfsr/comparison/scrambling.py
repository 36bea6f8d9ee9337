"""The control of personalization: a finished run, with everybody served by somebody else's private offsets.

What of a gain owes nothing to the person survives this; what is personal does not.
"""

import numpy as np

from pfsr.data.dataset import Dataset
from pfsr.errors import PfsrError
from pfsr.evaluation.scorer import Scorer
from pfsr.federated.seeds import derive
from pfsr.model.bundle import open_bundle
from pfsr.runs.folder import RunFolder
from pfsr.runs.scoring import ModelScorer
from pfsr.runs.train import open_finished


def scrambled(base: RunFolder, dataset: Dataset) -> Scorer:
    """Return the personal model of the finished run in ``base``, its private offsets dealt out wrongly.

    The run stays as it is; who gets whose offsets follows from its seed.

    Raises:
        PfsrError: the run is not done, or there is only one person.
    """
    run = open_finished(base, dataset)
    donors = derangement(len(dataset.sequences), derive(run.config.seed, "scramble"))
    return ModelScorer("personal", open_bundle(base.best), run.config.evaluation.window, run.store, donors)


def derangement(people: int, seed: int) -> np.ndarray:
    """Return whose turn each person takes: a random permutation, int64 [people], that maps nobody to itself.

    Everybody takes the turn of the next in one random circle, so it is uniform among cyclic permutations
    (Sattolo, 1986).

    Raises:
        PfsrError: there are fewer than two people.
    """
    if people < 2:
        raise PfsrError(f"scrambling needs two people or more, to trade private offsets; there are {people}")
    circle = np.random.default_rng(seed).permutation(people)
    donors = np.empty(people, dtype=np.int64)
    donors[circle] = np.roll(circle, 1)
    return donors
