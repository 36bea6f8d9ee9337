"""Learning from one person's events, on their device: the lines that the simulator runs, for one client.

    phase 1   ``federated.client.private_steps``: the offsets follow the events, the shared weights stay
    phase 2   ``federated.client.local_update``: a round of federated training; a movement is to leave

Nothing is stored or sent here. This module and ``messages`` need PyTorch; whoever uses them imports them
when there is something to be learned.
Source: "Personalized Federated Sequential Recommender" (arXiv 2603.22349).

Shapes: B = 1 client, S offsets.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from pfsr.config import Config, ObjectiveConfig
from pfsr.device.lessons import Learned, Lesson, TookPart
from pfsr.device.manifest import Manifest, read_manifest
from pfsr.device.messages import read_call, write_upload
from pfsr.device.weights import read_weights
from pfsr.errors import PfsrError
from pfsr.federated.batch import ClientBatch, client_batch
from pfsr.federated.client import local_update, private_loss, private_steps
from pfsr.federated.partition import Private
from pfsr.federated.rounds import ServerState, make_broadcast
from pfsr.federated.seeds import derive
from pfsr.federated.server import Moments
from pfsr.federated.view import Broadcast
from pfsr.model.adaptation import Adaptation
from pfsr.model.magnitude import FIRST_LIMIT
from pfsr.model.response import Sites, response_sites

LEAST = 2
"""Events from which something can be learned: one read, one to come next."""


class _Task(NamedTuple):
    """The arguments of ``private_steps`` that stay as they are."""

    broadcast: Broadcast
    batch: ClientBatch
    config: Config
    sites: Sites


def learn(lesson: Lesson, steps: int, should_stop: Callable[[], bool]) -> Learned:
    """Take private steps under the device's own model, as ``federated.client.adapt`` does.

    Args:
        lesson: what is learned from.
        steps: the most steps that are taken.
        should_stop: asked before every step.

    Raises:
        PfsrError: fewer than two events, ``steps`` is not positive, the model is damaged, or it was trained
            without private offsets.
    """
    if steps < 1:
        raise PfsrError(f"steps must be at least 1 (got {steps})")
    _check_history(lesson, LEAST)
    task, private, taken = _task(lesson), _private(lesson), 0
    before = _loss(task, private)
    following = private_steps(task.broadcast, private, *task[1:])
    while taken < steps and not should_stop():
        private, taken = next(following), taken + 1
    return Learned(*_kept(private), taken, before, _loss(task, private) if taken else before)


def take_part(lesson: Lesson, call: bytes, seed: int) -> TookPart:
    """Take part in a round of federated training: both phases, on what the server sent.

    Args:
        lesson: what is learned from; the offsets are those of the device, the weights those of the call.
        call: what ``messages.write_call`` returned.
        seed: every random choice follows from it; whoever knows it learns more from the upload.

    Raises:
        PfsrError: fewer events than the call asks for, or a call that is damaged or for another model.
    """
    known = read_call(call, lesson.folder)
    _check_history(lesson, max(LEAST, known.config.federated.min_events))
    batch = _batch(lesson, seed, known.config)
    sites = response_sites(known.config.model)
    updates, private = local_update(known.broadcast, _private(lesson), batch, known.config, sites)
    upload, fields = write_upload(updates, known)
    return TookPart(*_kept(private), upload, fields, f"round {known.broadcast.version}")


def _task(lesson: Lesson) -> _Task:
    """Return what the run's own devices would have been given at its end; in later lessons with other
    negatives and another stretch of a long history.
    """
    manifest = read_manifest(lesson.folder)
    sites = response_sites(manifest.model)
    adaptation = manifest.adaptation or Adaptation(spread=(ObjectiveConfig().spread,) * len(sites.names))
    config, version = adaptation.config(manifest.model), adaptation.round + int(lesson.rounds)
    _check_personal(manifest, config)
    weights = {name: torch.from_numpy(value) for name, value in read_weights(lesson.folder).items()}
    limits_T = torch.full((len(weights),), FIRST_LIMIT)
    state = ServerState(weights, Moments({}, {}), torch.tensor(adaptation.spread), limits_T, version)
    batch = _batch(lesson, derive(config.seed, "adapt", version, 0), config)
    return _Task(make_broadcast(state, config), batch, config, sites)


def _batch(lesson: Lesson, seed: int, config: Config) -> ClientBatch:
    return client_batch([np.asarray(lesson.rows, np.int32)], [seed], config.federated.window)


def _loss(task: _Task, private: Private) -> float:
    return float(private_loss(task.broadcast, private, *task[1:]))


def _private(lesson: Lesson) -> Private:
    offsets_BS, fisher_BS = (torch.tensor(np.asarray(v, np.float32))[None] for v in lesson[2:4])
    return Private(offsets_BS, fisher_BS, torch.tensor([lesson.rounds], dtype=torch.float32))


def _kept(private: Private) -> tuple[np.ndarray, np.ndarray]:
    return _array(private.offsets_BS), _array(private.fisher_BS)


def _array(values_BS: Tensor) -> np.ndarray:
    return values_BS[0].detach().numpy()


def _check_history(lesson: Lesson, least: int) -> None:
    if len(lesson.rows) < least:
        raise PfsrError(f"learning needs {least} events of items in the catalogue (got {len(lesson.rows)})")


def _check_personal(manifest: Manifest, config: Config) -> None:
    if config.response.mode == "off":
        raise PfsrError(
            f"model {manifest.model_version} was trained without private offsets (response.mode = 'off'), "
            "so there is nothing to learn on a device"
        )
