"""A cell of the table: a method with a seed at a rate, in a folder of its own, and what it leaves there."""

from pathlib import Path
from typing import Any, Literal, NamedTuple
from zipfile import is_zipfile

from pydantic import ValidationError

from pfsr.comparison.finetuning import Tuning
from pfsr.comparison.method import Method
from pfsr.config import Config, Section
from pfsr.errors import PfsrError
from pfsr.evaluation.result import Evaluation
from pfsr.recipe import merge, resolve
from pfsr.runs.folder import RunFolder, read_json
from pfsr.runs.judging import Bench
from pfsr.runs.rounds_log import read_metrics
from pfsr.runs.settling import settle

Metrics = dict[str, float]
Part = Literal["test", "validation"]


class MadeOf(Section):
    """All that a cell's numbers follow from, beside the data; equal means that they need not be redone."""

    kind: Literal["rule", "run", "local", "ditto", "scrambled"]
    config: Config
    rule: Literal["popularity", "markov"] | None = None
    tuning: Tuning | None = None
    base: "MadeOf | None" = None


class Wanted(Section):
    """What a worker is asked for (``wanted.json``).

    Attributes:
        method: its name.
        seed: the run's seed.
        made_of: what to make.
        split: digest of the split that all cells share.
        base: folder of the finished cell that ``ditto`` and ``scrambled`` start from.
    """

    method: str
    seed: int
    made_of: MadeOf
    split: str
    base: str | None = None


class Cost(Section):
    """What a cell took. Bytes and participations are means over all people of the data set.

    Attributes:
        rounds: of training.
        looks: at the validation events while training.
        participations: rounds that a person took part in.
        bytes_up: sent by a person.
        bytes_down: received by a person.
        train_seconds: of training, without looks; over all interruptions.
        judge_seconds: of the final evaluation.
        peak_memory_bytes: largest resident memory of the process that finished the cell.
    """

    rounds: int = 0
    looks: int = 0
    participations: float = 0.0
    bytes_up: float = 0.0
    bytes_down: float = 0.0
    train_seconds: float = 0.0
    judge_seconds: float = 0.0
    peak_memory_bytes: int = 0


class CellResult(Section):
    """What a finished cell says of itself (``cell.json``, written last).

    Attributes:
        wanted: what was asked for.
        own: the scorer that stands for the method: ``personal`` when it has one, else ``global`` or a rule.
        metrics: part of the split -> scorer -> metric -> mean over people.
        cost: what it took.
    """

    wanted: Wanted
    own: str
    metrics: dict[Part, dict[str, Metrics]]
    cost: Cost


class Cell(NamedTuple):
    """One method with one seed, at one rate.

    Attributes:
        method: what it is.
        folder: an ordinary run folder (kind ``run``), with ``wanted.json`` and ``cell.json`` beside.
        wanted: what to make.
        base: the cell that has to be finished before.
        factor: of the method's own server rate.
    """

    method: Method
    folder: RunFolder
    wanted: Wanted
    base: "Cell | None" = None
    factor: float = 1.0

    @property
    def title(self) -> str:
        """``METHOD``, or ``METHOD rate x2`` where it is made at another than its own server rate."""
        return self.method.name if self.factor == 1 else f"{self.method.name} rate x{self.factor:g}"

    @property
    def label(self) -> str:
        """Its title and ``seed K``, or the bare name of a rule, which draws nothing at random."""
        return self.title if self.method.kind == "rule" else f"{self.title} seed {self.wanted.seed}"

    def result(self) -> CellResult | None:
        """Return what the cell found, or None while it is not done with just this configuration and split."""
        return finished(self.folder, self.wanted)

    def rounds_done(self) -> int:
        """Return how many rounds of just this run are written down."""
        if self.wanted.made_of.kind != "run" or not resumable(self.folder, self.wanted):
            return 0
        try:
            return self.folder.metrics.read_bytes().count(b"\n")
        except OSError:
            return 0

    def log(self) -> list[dict[str, Any]]:
        """Return the rounds of a finished run; those that were looked at have their validation metrics.

        Raises:
            PfsrError: a round is damaged or missing.
        """
        found = self.result()
        return read_metrics(self.folder, found.cost.rounds if found else 0)

    def evaluation(self, part: str = "test", scorer: str = "") -> Evaluation:
        """Return the ranks per person of one scorer, or of the finished method's own."""
        found = self.result()
        if found is None:
            raise PfsrError(f"{self.folder.root}: not finished; run the comparison again")
        return Evaluation.load(evaluation_file(self.folder, part, scorer or found.own))


def result_file(folder: RunFolder) -> Path:
    """Return where a cell's ``cell.json`` lies."""
    return folder.root / "cell.json"


def evaluation_file(folder: RunFolder, part: str, scorer: str) -> Path:
    """Return where the ranks per person of one scorer lie."""
    return folder.evaluation / f"{part}-{scorer}.npz"


def finished(folder: RunFolder, wanted: Wanted) -> CellResult | None:
    """Return the result in ``folder`` if it is whole and made of just what is ``wanted``, else None."""
    found = _read(result_file(folder))
    if found is None or (found.wanted.made_of, found.wanted.split) != (wanted.made_of, wanted.split):
        return None
    ranks = (evaluation_file(folder, part, one) for part, scorers in found.metrics.items() for one in scorers)
    named = all(found.own in scorers for scorers in found.metrics.values())
    logged = wanted.made_of.kind != "run" or folder.metrics.exists()
    # A cut-off archive has lost its end, where its contents are listed.
    return found if named and logged and all(is_zipfile(path) for path in ranks) else None


def resumable(folder: RunFolder, wanted: Wanted) -> bool:
    """Tell whether an unfinished run with just the wanted configuration and split lies in ``folder``."""
    try:
        config = resolve(read_json(folder.config))
        digest = read_json(folder.facts).get("split_hash")
    except PfsrError:
        return False
    return (config, digest) == (wanted.made_of.config, wanted.split)


def settled(what: MadeOf, bench: Bench) -> MadeOf:
    """Return ``what`` with numbers where it leaves a setting to the data; nothing of a rule is left to it."""
    if what.kind == "rule":
        return what
    base = settled(what.base, bench) if what.base else None
    return what.model_copy(update={"config": settle(what.config, bench), "base": base})


def made_of(
    method: Method, recipe: dict[str, Any], seed: int, base: Method | None = None, factor: float = 1.0
) -> MadeOf:
    """Return what ``method`` makes of a recipe's settings, at ``factor`` times its own server rate.

    What starts from another method takes that one's settings; a rule depends on the data alone.

    Raises:
        PfsrError: a setting is unknown or out of range.
    """
    origin = f"method {method.name}"
    if method.kind == "rule":
        config = resolve({"name": method.name, "data": recipe.get("data", {})}, origin=origin)
        return MadeOf(kind="rule", rule=method.rule, config=config)
    below = merge(recipe, base.settings) if base else recipe
    fixed = {"name": method.name, "seed": seed, "track": "none"}
    config = _at_rate(resolve(merge(below, method.settings), fixed, origin), factor)
    start = made_of(base, recipe, seed, factor=factor) if base else None
    return MadeOf(kind=method.kind, config=config, tuning=method.tuning, base=start)


def _at_rate(config: Config, factor: float) -> Config:
    """Scale the server rate; where the server averages, the local rate too: an average goes no further."""
    federated = config.federated
    changed = {"server_rate": federated.server_rate * factor}
    if federated.server in ("fedavg", "fedavgm"):
        changed["local_rate"] = federated.local_rate * factor
    return config.model_copy(update={"federated": federated.model_copy(update=changed)})


def _read(path: Path) -> CellResult | None:
    try:
        return CellResult.model_validate_json(path.read_bytes())
    except (OSError, ValidationError):
        return None
