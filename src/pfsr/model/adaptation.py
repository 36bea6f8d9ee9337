"""How a person's offsets follow their events under a trained model: what the run knows and a device must too.

It travels with the model, from the run into the bundle and from there into the device model. It says nothing
about anybody: tau^2 is a mean over all clients. Whoever reads this needs no PyTorch.
"""

from collections.abc import Iterable
from typing import Annotated

from pydantic import Field

from pfsr.config import (
    Config,
    Count,
    FederatedConfig,
    ModelConfig,
    ObjectiveConfig,
    Rate,
    ResponseConfig,
    Section,
)


class Adaptation(Section):
    """What decides how offsets are learned under a model, beside the model itself.

    Attributes:
        seed: of the run.
        round: rounds behind the weights.
        spread: tau^2 per site group (Dynamic Magnitude Loss).
        response, objective, federated: the run's configuration.
    """

    seed: Count = 0
    round: Count = 0
    spread: Annotated[tuple[Rate, ...], Field(min_length=1)]
    response: ResponseConfig = ResponseConfig()
    objective: ObjectiveConfig = ObjectiveConfig()
    federated: FederatedConfig = FederatedConfig()

    @classmethod
    def of(cls, config: Config, round_: int, spread: Iterable[float]) -> "Adaptation":
        """Return what a run with this configuration passes on."""
        parts = {name: getattr(config, name) for name in ("seed", "response", "objective", "federated")}
        return cls(round=round_, spread=tuple(spread), **parts)

    def config(self, model: ModelConfig) -> Config:
        """Return the run's configuration, as far as learning from one person goes."""
        parts = {name: getattr(self, name) for name in ("seed", "response", "objective", "federated")}
        return Config(model=model, **parts)
