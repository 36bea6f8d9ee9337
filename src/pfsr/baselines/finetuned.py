"""A full copy of the model per person, trained on that person's events: local-only training and Ditto.

    v <- base;  then, `steps` times:  v <- Adam(v, gradient of mean loss + (pull / 2) |v - base|^2)

Local-only: base is a fresh model (``federated.rounds.first_state``) and pull 0, so nothing is learnt from
anybody else. Ditto: base is a trained federated model w* and pull its lambda > 0. This is Ditto in its
decoupled form: the paper alternates personal steps with rounds, here personal models are solved once w* is
there, which w* does not notice, since personal steps never reach the server.
Source: "Ditto: Fair and Robust Federated Learning Through Personalization" (arXiv 2012.04221).

Shapes: B people, L events, I items, M rows of the item table in use, d = d_model.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from pfsr.config import Config, FederatedConfig
from pfsr.data.sequences import Sequences
from pfsr.federated.batch import ClientBatch, client_batch
from pfsr.federated.learning import gradients, run_pass
from pfsr.federated.rounds import ServerState, make_broadcast
from pfsr.federated.server import Moments, empty_moments, server_step
from pfsr.federated.view import View, receive
from pfsr.model.amb import Weights
from pfsr.model.encoder import ITEM_BIAS, ITEMS, encode
from pfsr.model.memory import PairMemory
from pfsr.model.thin import write_out

NUMBERS = 1 << 22
"""Parameters that the copies held at once have together, at most (16 MB; training takes a multiple)."""

MOST = 16
"""People whose copies are held at once, at most."""

TRAINABLE = 2
"""Training events that it takes to learn: one to read, one to predict."""


class Tuning(NamedTuple):
    """How a copy is trained.

    Attributes:
        steps: Adam steps (0: the base itself).
        rate: Adam's learning rate.
        pull: lambda, how strongly a copy is held to its base (0: not at all).
    """

    steps: int
    rate: float
    pull: float = 0.0


@dataclass(frozen=True)
class FineTuned:
    """Scores with each person's own copy of the model (see ``evaluation.Scorer``).

    A copy is made when it is asked for and thrown away: memory does not grow with the number of people.
    People with fewer than two training events have nothing to learn from and keep the base.

    Attributes:
        name: of the method.
        base: what every copy starts from, and is pulled to.
        sequences: everybody's events.
        train_ends: int64 [people]; a copy learns from events before it only, the most recent
            ``federated.window`` + 1 of them.
        config: the model's shape, the loss and the windows.
        tuning: how a copy is trained.
        memory: of pairs, which every copy has beside it; None: none.
    """

    name: str
    base: Weights
    sequences: Sequences
    train_ends: np.ndarray
    config: Config
    tuning: Tuning
    memory: PairMemory | None = None

    def score(self, people: np.ndarray, histories: list[np.ndarray]) -> np.ndarray:
        """Return scores float32 [n, items + 1] (see ``evaluation.Scorer``)."""
        scores = np.empty((len(people), len(self.base[ITEMS])), dtype=np.float32)
        for rows in self._batches(people):
            copies = self.copies(people[rows])
            scores[rows] = _scores(copies, [self._read(histories[row]) for row in rows], self.config).numpy()
        if self.memory:
            self.memory.add_to_all(scores, histories)
        return scores

    def copies(self, people: np.ndarray) -> Weights:
        """Return the copies of ``people``, each tensor [B, *shape].

        Who else is asked for changes a copy by rounding only, which Adam makes larger where a gradient is
        next to nothing.
        """
        copies = {name: w.repeat(len(people), *[1] * w.ndim) for name, w in self.base.items()}
        places = np.flatnonzero(self.train_ends[people] >= TRAINABLE)
        if len(places):
            for name, trained in self._trained(people[places]).items():
                copies[name][places] = trained
        return copies

    def _trained(self, people: np.ndarray) -> Weights:
        copies = {name: weight.expand(len(people), *weight.shape) for name, weight in self.base.items()}
        batch, moments = self._training_events(people), empty_moments(copies)
        for step in range(self.tuning.steps):
            gradient = self._gradient(copies, batch, step)
            copies, moments = server_step(copies, moments, gradient, self._adam, step)
        return copies

    @cached_property
    def _adam(self) -> FederatedConfig:
        """Plain Adam: the server's, at a constant rate."""
        return FederatedConfig(
            server="fedadam", server_rate=self.tuning.rate, beta1=0.9, beta2=0.999, warmup=0, final_rate=1.0
        )

    def _batches(self, people: np.ndarray) -> Iterator[np.ndarray]:
        """Yield places in ``people``, few enough for memory and of like length."""
        parameters = sum(weight.numel() for weight in self.base.values())
        size = min(MOST, max(1, NUMBERS // parameters))
        order = np.argsort(self.train_ends[people], kind="stable")
        return (order[start : start + size] for start in range(0, len(order), size))

    def _training_events(self, people: np.ndarray) -> ClientBatch:
        ends, window = self.train_ends[people], self.config.federated.window
        histories = [self.sequences.history(int(p), int(end)) for p, end in zip(people, ends, strict=True)]
        # No seed is ever used: the stretch is the most recent one, and there is no dropout.
        recent = client_batch([history[-window - 1 :] for history in histories], [0] * len(people), window)
        return recent._replace(before=[history[: -window - 1] for history in histories])

    def _gradient(self, copies: Weights, batch: ClientBatch, step: int) -> Weights:
        """Return the gradient of every person's objective, each tensor [B, *shape]."""
        nothing = torch.zeros(0)
        sent = make_broadcast(ServerState(self.base, Moments({}, {}), nothing, nothing, step), self.config)
        view = _own(receive(sent, batch), copies)
        found = gradients(run_pass(view, {}, batch, self.config, step=None), view, batch).shared
        tables = {ITEMS: write_out(found.table_BMd), ITEM_BIAS: write_out(found.bias_BM)}
        dense = {name: _dense(local, view.rows_BM, copies[name]) for name, local in tables.items()}
        pull = self.tuning.pull
        return {
            name: torch.add(gradient, copies[name] - self.base[name], alpha=pull)
            for name, gradient in (found.weights | dense).items()
        }

    def _read(self, history: np.ndarray) -> Tensor:
        return torch.from_numpy(history[-self.config.evaluation.window :].astype(np.int64))


def _own(view: View, copies: Weights) -> View:
    """Put everybody's own copy where the view shows the base."""
    weights = {name: copies[name] for name in view.weights}
    table, bias = copies[ITEMS], copies[ITEM_BIAS]
    if view.rows_BM is not None:
        table, bias = table[_each(view.rows_BM), view.rows_BM], bias[_each(view.rows_BM), view.rows_BM]
    return view._replace(weights=weights, table_BMd=table, bias_BM=bias)


def _dense(local: Tensor, rows_BM: Tensor | None, like: Tensor) -> Tensor:
    """Return a gradient of local rows as one of the whole catalogue."""
    if rows_BM is None:
        return local
    return torch.zeros_like(like).index_put_((_each(rows_BM), rows_BM), local, accumulate=True)


@torch.no_grad()
def _scores(copies: Weights, histories: list[Tensor], config: Config) -> Tensor:
    """Return the score of every item after each history, by its person's copy, [B, I + 1]."""
    lengths = torch.tensor([len(history) for history in histories])
    padding = torch.zeros(1, dtype=torch.long)
    items_BL = pad_sequence([history if len(history) else padding for history in histories], batch_first=True)
    x_BLd = copies[ITEMS][_each(items_BL), items_BL] * math.sqrt(config.model.d_model)
    query_BLd = encode(copies, x_BLd, items_BL > 0, config.model)
    last_Bd = query_BLd[torch.arange(len(lengths)), (lengths - 1).clamp(min=0)]
    last_Bd[lengths == 0] = 0
    scores_BI = (copies[ITEMS] @ last_Bd[..., None])[..., 0] + copies[ITEM_BIAS]
    scores_BI[:, 0] = -torch.inf
    return scores_BI


def _each(rows: Tensor) -> Tensor:
    """Return the person that each entry of ``rows`` [B, ...] belongs to, ready to index with."""
    return torch.arange(len(rows))[:, None]
