"""Every knob on one page.

A recipe (TOML) sets some of them, the command line (`--federated.rounds 400`) overrides the recipe,
and what neither names keeps the default below (``pfsr.recipe`` puts them together). Sections are frozen;
unknown keys are refused.
"""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

Positive = Annotated[int, Field(gt=0)]
Count = Annotated[int, Field(ge=0)]
Rate = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, lt=1)]


def _whole(value: Any) -> Any:
    """Read a number that the command line hands over as text."""
    return int(value) if isinstance(value, str) and value.isdecimal() else value


class Section(BaseModel):
    """A frozen group of knobs that refuses names it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class DataConfig(Section):
    """Which histories, and which part of each is held out."""

    source: str = "synthetic"
    """A file, or a named source: synthetic, ml-100k, ml-1m."""
    titles: str | None = None
    """A file with item_id and title columns, for readable recommendations."""
    user_column: str = "user_id"
    """The source's column that says who."""
    item_column: str = "item_id"
    """The source's column that says what."""
    time_column: str = "timestamp"
    """The source's column that says when (a number; larger is later)."""
    core: Count = 5
    """k-core filter: drop people and items with fewer events, until none is left to drop (0: keep all)."""
    ties: Literal["kept", "shuffled"] = "kept"
    """A person's events at one and the same time: in the order of the source, or shuffled, which tells how
    much of a result rests on that order."""
    without_last: Count = 0
    """Leave everybody's last events off, this many: settings chosen by the test of such a set have not seen
    the test events of the whole one."""
    split: Literal["leave-one-out", "time"] = "leave-one-out"
    """Hold out each person's last event, or everything after one moment in time."""


class ModelConfig(Section):
    """The encoder: Associative Mamba Blocks, or what a rival puts in their place."""

    encoder: Literal["amb", "sasrec", "gru4rec", "mamba4rec", "lrurec"] = "amb"
    """What reads the sequence. The knobs below that a rival's blocks do not have, it ignores."""
    ffn: Count = 0
    """Width of a feed-forward network after every block, as a multiple of d_model (0: none, or for a rival
    the usual one: sasrec 1, mamba4rec 4, lrurec 4)."""
    positions: Positive = 200
    """sasrec: learned positions; events beyond them share the last one."""
    d_model: Positive = 64
    """Width of the item vectors and of the stream between blocks."""
    expand: Positive = 1
    """Inner width of a block, as a multiple of d_model."""
    heads: Positive = 4
    """Heads per block; each has one decay."""
    d_state: Positive = 16
    """State columns per channel."""
    d_conv: Positive = 4
    """Width of the causal depthwise convolution."""
    blocks: Positive = 2
    """Blocks, one after the other."""
    horizon: Annotated[int, Field(gt=0, le=24)] = 5
    """associative: events younger than this are left out of the flipped state."""
    view: Literal["forward", "associative"] = "forward"
    """What a block reads of the past: its forward state, or beside it the paper's partially flipped one, in
    which the oldest events weigh most (1.6 times the time; docs/decisions/0016)."""
    final_norm: bool = True
    """Give all queries one length, as SASRec does; without, a query is longer where the model is surer."""
    sites: Literal["response", "head", "scorer"] = "response"
    """Where private offsets act. response: throughout the model (Variable Response Mechanism); head: a linear
    map of the query (FedPer, FedRep); scorer: a weight and a bias per channel of the query (PFedRec)."""
    dropout: Share | Literal["auto"] = "auto"
    """Share of channels silenced while training, in the input and in what every block adds; auto: from .5
    where people have 8 training events or fewer, on average, to .2 where they have 64 or more."""
    event_dropout: Share = 0.0
    """Share of events hidden from the encoder while training; they stay targets."""

    @property
    def silenced(self) -> float:
        """The dropout as a number: .2 where it is left to data that nobody has looked at."""
        return 0.2 if self.dropout == "auto" else self.dropout

    @model_validator(mode="after")
    def _heads_divide_width(self) -> "ModelConfig":
        if (self.d_model * self.expand) % self.heads:
            raise ValueError(
                f"heads ({self.heads}) must divide d_model x expand ({self.d_model * self.expand})"
            )
        return self


class ResponseConfig(Section):
    """The Variable Response Mechanism: private offsets that adapt the model to one person."""

    mode: Literal["soft", "hard", "plain", "off"] = "soft"
    """soft: sites respond as strongly as the person's data supports; hard: all or nothing; plain: gradient
    descent without Fisher information, as in FedPer and FedRep; off: none."""
    rate: Rate = 0.1
    """Step size of the private offsets: a share (at most 1) of a full damped natural-gradient step; plain:
    the learning rate."""
    private_steps: Count = 0
    """plain: private steps before each shared one (0: both in one pass, as in FedPer)."""
    fisher_every: Positive = 4
    """Rounds between two looks at the Fisher information of the people who take part."""
    threshold: Share = 0.5
    """hard: offsets whose response strength is below this follow the global model."""
    adapt_steps: Count = 4
    """Private steps each person takes under the finished model, before it is evaluated or used."""

    @model_validator(mode="after")
    def _steps_fit_their_mode(self) -> "ResponseConfig":
        if self.mode != "plain" and self.private_steps:
            raise ValueError("private_steps needs mode = 'plain'")
        if self.mode in ("soft", "hard") and self.rate > 1:
            raise ValueError(f"rate ({self.rate:g}) must be at most 1: a share of a natural-gradient step")
        return self


class ObjectiveConfig(Section):
    """Next-item loss and Dynamic Magnitude Loss."""

    loss: Literal["auto", "full", "sampled"] = "auto"
    """Cross-entropy over the whole catalogue, or over sampled negatives; auto: by catalogue size.
    A catalogue of no more items than negatives always gets the full one."""
    full_limit: Positive = 20_000
    """auto: catalogues up to this size get the full cross-entropy."""
    negatives: Positive = 512
    """Sampled negatives, common to the cohort of a round."""
    seen: Literal["left_out", "kept"] = "left_out"
    """What a person has already is left out of what the next item is compared with in training, as the
    ranking leaves it out; or kept, for recommending things again (music, groceries)."""
    magnitude: Literal["dynamic", "prox", "off"] = "dynamic"
    """Dynamic Magnitude Loss; prox: one constant pull towards the global model; off: none."""
    spread: Annotated[float, Field(ge=1e-4, le=1)] = 0.01
    """dynamic: tau^2 before anybody took part, how much people are taken to differ. It grows slowly: a few
    hundred rounds gain by starting at .1, a thousand then learn people by heart (docs/decisions/0018)."""
    prox: Rate = 1.0
    """prox: the constant coefficient that stands for 1/tau^2."""
    clip_quantile: Share = 0.9
    """dynamic: the share of clients whose shared movement stays under the limit c."""


class MemoryConfig(Section):
    """A memory of pairs beside the encoder: which item came soon after which, summed over everybody."""

    mode: Literal["off", "pairs"] = "off"
    """pairs: counted before the first round, one more message from everybody, which on real devices may leave
    only into a secure sum; off: the encoder alone."""
    weight: Annotated[float, Field(ge=0, le=10)] = 0.25
    """How strongly pairs raise an item's odds: by (1 + count) to this power."""
    share: Share = 0.3
    """The most of the probability that pairs have alone, whatever the encoder says."""
    people: Positive = 2
    """Pairs that fewer people share are dropped; with 1 the model says what single people did."""


class FederatedConfig(Section):
    """Rounds of federated training; one person is one client."""

    rounds: Positive = 400
    """Rounds to train."""
    cohort: Positive = 256
    """Clients invited to a round."""
    sampling: Literal["random", "epochs"] = "random"
    """A new draw each round; or everybody once, in random order, before anybody again: all clients are cut
    into equal cohorts of at most federated.cohort, and invitations differ by one at most."""
    unavailable: Share = 0.0
    """Share of a cohort that never answers."""
    window: Positive = 100
    """Events a client trains on each time: half of the time its most recent ones, else any stretch."""
    min_events: Positive = 2
    """People with fewer training events do not train."""
    local_steps: Positive = 1
    """Local steps, each private and shared, each time a client takes part."""
    local_rate: Rate = 0.1
    """Learning rate of those steps."""
    proximal: Annotated[float, Field(ge=0)] = 0.0
    """FedProx: pull of local steps back to the broadcast model (needs two local steps to matter)."""
    upload_bits: Annotated[Literal[32, 8, 4, 2, 1], BeforeValidator(_whole)] = 32
    """Bits a number of an upload; fewer than 32: rotated at random and rounded without bias."""
    download_bits: Annotated[Literal[32, 16, 8], BeforeValidator(_whole)] = 32
    """Bits a number of a download; fewer than 32: clients learn on rounded weights (the server's stay)."""
    server: Literal["fedavg", "fedavgm", "fedadam", "fedyogi"] = "fedadam"
    """Server optimizer (textbook FedAvg: fedavg, server_rate = local_rate, warmup 0, final_rate 1)."""
    server_rate: Rate = 6e-3
    """Server learning rate."""
    beta1: Share = 0.9
    """Server momentum."""
    beta2: Share = 0.98
    """Server second-moment decay (fedadam, fedyogi)."""
    adaptivity: Rate = 1e-8
    """Degree of adaptivity (fedadam, fedyogi; tau of their paper): pseudo-gradients far below it are not
    scaled up to whole steps, which would undo in between what an item learns where it is seldom a target."""
    warmup: Count = 50
    """Rounds over which the server rate rises from zero."""
    final_rate: Annotated[float, Field(ge=0, le=1)] = 0.1
    """The server rate falls along a cosine to this share of itself."""


class EvaluationConfig(Section):
    """When and how the model is judged."""

    every: Positive = 100
    """Rounds between two looks at the validation events."""
    checkpoint_every: Positive = 100
    """Rounds between two checkpoints."""
    window: Positive = 200
    """Most recent events the model reads when it recommends."""
    people: Positive = 5000
    """People whose validation event is looked at while training; the final evaluation takes everybody."""
    patience: Count = 0
    """Stop after this many looks without a better validation NDCG@10 (0: never). With private offsets the
    newest model is final, so a run that stops this way is a little past its best."""


class Config(Section):
    """A whole run."""

    name: str = "run"
    """Names the run folder."""
    seed: Count = 0
    """Every random choice follows from it."""
    training: Literal["federated", "central"] = "federated"
    """Where gradients are taken: on every person's device, or on pooled histories, to measure
    federation against (federated.cohort: people of a minibatch; federated.server: its optimizer)."""
    track: Literal["none", "tensorboard"] = "none"
    """Also write curves for TensorBoard (needs the extra pfsr[track])."""
    data: DataConfig = DataConfig()
    model: ModelConfig = ModelConfig()
    response: ResponseConfig = ResponseConfig()
    objective: ObjectiveConfig = ObjectiveConfig()
    memory: MemoryConfig = MemoryConfig()
    federated: FederatedConfig = FederatedConfig()
    evaluation: EvaluationConfig = EvaluationConfig()

    @model_validator(mode="after")
    def _central_has_no_clients(self) -> "Config":
        if self.training == "central":
            needed = {"response.mode": "off", "objective.magnitude": "off", "federated.local_steps": 1}
            needed |= {"federated.upload_bits": 32, "federated.download_bits": 32}
            for name, value in needed.items():
                section, knob = name.split(".")
                if getattr(getattr(self, section), knob) != value:
                    raise ValueError(f"training = 'central' needs {name} = {value!r}: nothing is on a device")
        return self
