"""Ask a method for its ranking of the whole catalogue, person by person, and keep where the target came."""

from collections.abc import Iterator

import numpy as np

from pfsr.data.sequences import Sequences
from pfsr.data.split import Targets
from pfsr.errors import PfsrError
from pfsr.evaluation.metrics import target_nll, target_ranks
from pfsr.evaluation.result import Evaluation
from pfsr.evaluation.scorer import Scorer
from pfsr.evaluation.slices import tied_in_time, training_items

__all__ = ["Evaluation", "evaluate"]


def evaluate(  # noqa: PLR0913 - the last two are options of the protocol
    scorer: Scorer,
    sequences: Sequences,
    targets: Targets,
    train_ends: np.ndarray,
    *,
    items: int,
    mask_seen: bool = True,
    batch: int = 256,
) -> Evaluation:
    """Rank every target against the whole catalogue.

    Args:
        scorer: the method.
        sequences: everybody's events.
        targets: the held-out events; the scorer reads copies of what lies before them, nothing else.
        train_ends: int64 [people], from the split; used only to name cold people and cold items.
        items: catalogue size; rows run from 1 to ``items``.
        mask_seen: items of the history do not compete with the target (repeat-heavy data: also False).
        batch: people scored at once; memory is about ``10 * batch * items`` bytes.

    Raises:
        PfsrError: there is no target, or the scores have the wrong shape or are not finite.
    """
    if not len(targets):
        raise PfsrError(
            "no held-out events to evaluate; keep more data (a smaller data.core) or another split"
        )
    parts = [_judge(scorer, sequences, part, items, mask_seen) for part in _batches(targets, batch)]
    ranks, nll = (np.concatenate(column) for column in zip(*parts, strict=True))
    return Evaluation(scorer.name, targets.people, ranks, nll, **_traits(sequences, targets, train_ends))


def _batches(targets: Targets, batch: int) -> Iterator[Targets]:
    for start in range(0, len(targets), batch):
        part = slice(start, start + batch)
        yield Targets(targets.people[part], targets.positions[part], targets.items[part])


def _judge(
    scorer: Scorer, sequences: Sequences, targets: Targets, items: int, mask_seen: bool
) -> tuple[np.ndarray, np.ndarray]:
    pairs = zip(targets.people, targets.positions, strict=True)
    # Copies: a view would let a scorer reach the target through the array it was cut from.
    histories = [sequences.history(person, end).copy() for person, end in pairs]
    scores = np.asarray(scorer.score(targets.people.copy(), [history.copy() for history in histories]))
    expected = (len(targets), items + 1)
    if scores.shape != expected:
        raise PfsrError(f"scorer {scorer.name}: scores have shape {scores.shape}, need {expected}")
    try:
        seen = histories if mask_seen else None
        return target_ranks(scores, targets.items, seen), target_nll(scores, targets.items, seen)
    except PfsrError as error:
        raise PfsrError(f"scorer {scorer.name}: {error}") from None


def _traits(sequences: Sequences, targets: Targets, train_ends: np.ndarray) -> dict[str, np.ndarray]:
    trained = training_items(sequences.offsets, sequences.items, train_ends)
    return {
        "history_lengths": targets.positions,
        "tied": tied_in_time(sequences.offsets, sequences.times, targets.people, targets.positions),
        "cold_people": train_ends[targets.people] <= 1,
        "cold_items": ~np.isin(targets.items, trained),
    }
