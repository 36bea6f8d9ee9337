"""The one place where a comparison meets fine-tuning on the device (local-only, Ditto)."""

from typing import Annotated

from pydantic import Field

from pfsr.baselines import finetuned
from pfsr.baselines.finetuned import FineTuned
from pfsr.config import Config, Rate, Section
from pfsr.evaluation.scorer import Scorer
from pfsr.federated.rounds import first_state
from pfsr.model.recommender import Recommender
from pfsr.runs.judging import Bench


class Tuning(Section):
    """How a copy of the model learns on one device.

    Attributes:
        steps: Adam steps on the person's training events.
        rate: Adam's learning rate.
        pull: coefficient of half the squared distance to where the copy started (Ditto's lambda).
    """

    steps: Annotated[int, Field(gt=0)]
    rate: Rate
    pull: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0


def fine_tuned(base: Recommender, bench: Bench, config: Config, tuning: Tuning) -> Scorer:
    """Return a method that gives each person a copy of ``base``, fine-tuned on their training events.

    A memory of pairs that ``base`` has stays as it is; a fresh model has none.
    """
    sequences, ends = bench.dataset.sequences, bench.split.train_ends
    steps = finetuned.Tuning(tuning.steps, tuning.rate, tuning.pull)
    return FineTuned("personal", base.weights, sequences, ends, config, steps, base.memory)


def fresh_model(config: Config, bench: Bench) -> Recommender:
    """Return the model that a run of ``config`` would start from."""
    catalog = bench.dataset.catalog
    return Recommender(config.model, catalog, first_state(config, len(catalog)).weights)
