"""Checkpoints: everything a run needs to go on bit-exactly, each a folder that appears by one rename.

Random choices need no saving: they are derived from the seed, the round and the person. What is saved is
the server's state, the private rows changed since the checkpoint before, and the run's best look so far.
Order of events, so that a kill at any instant leaves a run that resumes: write to a temporary folder, sync,
rename; then fold the private rows into their file; then remove the checkpoint before.
"""

import os
import shutil
from pathlib import Path
from typing import NamedTuple

import torch

from pfsr.errors import PfsrError
from pfsr.federated.rounds import ServerState
from pfsr.federated.server import Moments
from pfsr.model.amb import Weights
from pfsr.model.bundle import read_tensors, write_tensors
from pfsr.runs.folder import read_json, write_json
from pfsr.simulation.private_store import PrivateStore

STATE, PRIVATE, PROGRESS = "server.safetensors", "private.safetensors", "progress.json"
UNFINISHED = ".writing-"


class Progress(NamedTuple):
    """How far a run is.

    Attributes:
        round: rounds done.
        best_round: the round of the best look at the validation events (0: none yet).
        best_score: its validation NDCG@10.
        stale_looks: looks since then.
        seconds: time spent training.
        adapted: everybody has adapted to the finished model; the run is complete.
    """

    round: int = 0
    best_round: int = 0
    best_score: float = 0.0
    stale_looks: int = 0
    seconds: float = 0.0
    adapted: bool = False


def save_checkpoint(folder: Path, state: ServerState, store: PrivateStore, progress: Progress) -> None:
    """Make this the newest checkpoint.

    Raises:
        PfsrError: the disk does not take it; the checkpoint before is still good.
    """
    place = folder / f"round-{progress.round:08d}{'-adapted' if progress.adapted else ''}"
    fresh = folder / f"{UNFINISHED}{place.name}"
    shutil.rmtree(fresh, ignore_errors=True)
    people, rows = store.changed()
    write_tensors(_flat(state), fresh / STATE, {"round": str(state.round)})
    changed = {"people": torch.from_numpy(people), "rows": torch.from_numpy(rows)}
    write_tensors(changed, fresh / PRIVATE, {})
    write_json(fresh / PROGRESS, progress._asdict())
    _sync(fresh)
    shutil.rmtree(place, ignore_errors=True)
    fresh.rename(place)
    _sync(folder)
    store.fold(people, rows)
    _keep_only(place)


def load_checkpoint(folder: Path, store: PrivateStore) -> tuple[ServerState, Progress]:
    """Return the newest checkpoint and bring ``store`` to it.

    Raises:
        PfsrError: there is none, or it is damaged.
    """
    places = sorted(folder.glob("round-*"))
    if not places:
        raise PfsrError(f"{folder}: no checkpoint yet; start the run again with --overwrite")
    newest = places[-1]
    try:
        progress = Progress(**read_json(newest / PROGRESS))
        state = _state(read_tensors(newest / STATE)[0], progress.round)
        changed, _ = read_tensors(newest / PRIVATE)
        store.fold(changed["people"].numpy(), changed["rows"].numpy())
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise PfsrError(f"{newest}: damaged checkpoint ({error}); restore it or train again") from None
    _keep_only(newest)
    return state, progress


def _keep_only(place: Path) -> None:
    for other in (*place.parent.glob("round-*"), *place.parent.glob(f"{UNFINISHED}*")):
        if other != place:
            shutil.rmtree(other, ignore_errors=True)


def _flat(state: ServerState) -> Weights:
    groups = {"weights": state.weights, "first": state.moments.first, "second": state.moments.second}
    tensors = {
        f"{group}/{name}": t.contiguous() for group, named in groups.items() for name, t in named.items()
    }
    return tensors | {"spread": state.spread_G, "limits": state.limits_T}


def _state(tensors: Weights, rounds: int) -> ServerState:
    def group(prefix: str) -> Weights:
        return {n.removeprefix(prefix): t for n, t in sorted(tensors.items()) if n.startswith(prefix)}

    moments = Moments(group("first/"), group("second/"))
    return ServerState(group("weights/"), moments, tensors["spread"], tensors["limits"], rounds)


def _sync(folder: Path) -> None:
    if os.name == "nt":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
