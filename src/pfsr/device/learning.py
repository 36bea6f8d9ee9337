"""Phase 1 on the device: the private offsets follow the person's own events, the shared weights stay.

The only module of this room that needs PyTorch, and only when something is to be learned. Its steps are those
of ``federated.client.adapt``, with the same pieces and so the same numbers, but it may stop between two.
Source: "Personalized Federated Sequential Recommender" (arXiv 2603.22349).

Shapes: B = 1 client, S offsets.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from pfsr.config import Config
from pfsr.device.manifest import Manifest, read_manifest
from pfsr.device.weights import read_weights
from pfsr.errors import PfsrError

if TYPE_CHECKING:
    from pfsr.federated.batch import ClientBatch
    from pfsr.federated.partition import Private
    from pfsr.federated.view import Broadcast
    from pfsr.model.response import Sites

LEAST = 2
"""Events from which something can be learned: one read, one to come next."""


class Before(NamedTuple):
    """The private parameters that learning starts from.

    Attributes:
        offsets_S: float32.
        fisher_S: their Fisher information, zeros where nothing is known.
        rounds: how often was learned before; every random choice follows from it.
    """

    offsets_S: np.ndarray
    fisher_S: np.ndarray
    rounds: float


class Learned(NamedTuple):
    """What the steps led to.

    Attributes:
        offsets_S: float32.
        fisher_S: float32.
        steps: how many were taken.
        loss_before, loss_after: mean loss per event of the stretch that was learned from.
    """

    offsets_S: np.ndarray
    fisher_S: np.ndarray
    steps: int
    loss_before: float
    loss_after: float


class _Task(NamedTuple):
    broadcast: "Broadcast"
    batch: "ClientBatch"
    config: Config
    sites: "Sites"


def check_installed() -> None:
    """Raise PfsrError unless PyTorch is there."""
    try:
        import torch  # noqa: F401
    except ImportError:
        raise PfsrError("learning needs PyTorch: pip install torch; recommending goes on without") from None


def learn(
    folder: Path, rows: Sequence[int], before: Before, steps: int, should_stop: Callable[[], bool]
) -> Learned:
    """Take private steps on a person's history under a device model; nothing is stored.

    Args:
        folder: the device model.
        rows: the catalogue rows of the events, oldest first.
        before: the private parameters so far.
        steps: the most steps that are taken.
        should_stop: asked before every step.

    Raises:
        PfsrError: PyTorch is missing, fewer than two events, ``steps`` is not positive, or the model is
            damaged.
    """
    check_installed()
    if steps < 1:
        raise PfsrError(f"steps must be at least 1 (got {steps})")
    if len(rows) < LEAST:
        raise PfsrError(f"learning needs {LEAST} events of items in the catalogue (got {len(rows)})")
    task = _task(read_manifest(folder), folder, rows, int(before.rounds))
    private, taken, losses = _steps(task, before, steps, should_stop)
    return Learned(private.offsets_BS[0].numpy(), private.fisher_BS[0].numpy(), taken, losses[0], losses[-1])


def _task(manifest: Manifest, folder: Path, rows: Sequence[int], rounds: int) -> _Task:
    """Return what the server would have sent: the device model does not tell tau^2 and the recipe, so the
    defaults stand for them.
    """
    import torch

    from pfsr.federated.batch import client_batch
    from pfsr.federated.rounds import ServerState, make_broadcast
    from pfsr.federated.seeds import derive
    from pfsr.federated.server import Moments
    from pfsr.model.magnitude import FIRST_LIMIT, FIRST_SPREAD
    from pfsr.model.response import response_sites

    config, sites = Config(model=manifest.model), response_sites(manifest.model)
    weights = {name: torch.from_numpy(value) for name, value in read_weights(folder).items()}
    spread_G = torch.full((len(sites.names),), FIRST_SPREAD)
    limits_T = torch.full((len(weights),), FIRST_LIMIT)
    state = ServerState(weights, Moments({}, {}), spread_G, limits_T, rounds)
    seed = derive(config.seed, "adapt", rounds, 0)
    batch = client_batch([np.asarray(rows, np.int32)], [seed], config.federated.window)
    return _Task(make_broadcast(state, config), batch, config, sites)


def _steps(
    task: _Task, before: Before, steps: int, should_stop: Callable[[], bool]
) -> tuple["Private", int, list[float]]:
    """Return the private parameters, how many steps led to them, and the losses before and after each."""
    from pfsr.federated.learning import mean_loss, offset_gradients, run_pass
    from pfsr.federated.personal import personal_step, prior
    from pfsr.federated.view import receive

    broadcast, batch, config, sites = task
    view, pulled = receive(broadcast, batch), prior(broadcast, config, sites)._replace(refresh=True)
    private, taken = _private(before), 0
    done = run_pass(view, sites.split(private.offsets_BS), batch, config, step=None)
    losses = [float(mean_loss(done, batch))]
    while taken < steps and not should_stop():
        gradient_BS = offset_gradients(done, batch)
        private = personal_step(done, gradient_BS, private, batch, pulled, config.response)
        pulled, taken = pulled._replace(refresh=False), taken + 1
        done = run_pass(view, sites.split(private.offsets_BS), batch, config, step=None)
        losses.append(float(mean_loss(done, batch)))
    return private, taken, losses


def _private(before: Before) -> "Private":
    import torch

    from pfsr.federated.partition import Private

    offsets_BS, fisher_BS = (torch.tensor(np.asarray(v, np.float32))[None] for v in before[:2])
    return Private(offsets_BS, fisher_BS, torch.tensor([before.rounds], dtype=torch.float32))
