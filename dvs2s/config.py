"""The schema of every option, with its range checks. YAML only chooses and overrides.

Hydra merges ``conf/`` into these dataclasses, so a misspelt key or a wrong type is refused at
composition; ``__post_init__`` refuses values out of range, naming option, value and range.
"""

from dataclasses import dataclass, field, fields
from typing import Any

from dvs2s.decoding.options import SearchOptions
from dvs2s.errors import ConfigError


def _at_least(options: Any, group: str, low: float, *names: str) -> None:
    for name in names:
        value = getattr(options, name)
        if not value >= low:
            raise ConfigError(f"{group}.{name} must be at least {low:g}, got {value}")


def _one_of(options: Any, group: str, name: str, choices: tuple[str, ...]) -> None:
    value = getattr(options, name)
    if value not in choices:
        raise ConfigError(f"{group}.{name} must be one of {', '.join(choices)}, got {value!r}")


@dataclass
class DataConfig:
    """Where the dialogues are and how text becomes words."""

    name: str = "data"
    format: str = "tsv"
    root: str = "."
    train: list[str] = field(default_factory=list)
    valid: list[str] = field(default_factory=list)
    test: list[str] = field(default_factory=list)
    prepared: str = "prepared/${data.name}"
    tokenizer: str = "basic_english"
    context_turns: int = 1
    pairing: str = "forward"
    vocabulary_size: int = 30000
    min_count: int = 1
    function_words: str = "english"
    max_message_tokens: int = 60
    max_response_tokens: int = 40
    max_malformed_share: float = 0.01
    drop_train_duplicates: bool = True
    workers: int = 0
    vectors: str = ""

    def __post_init__(self) -> None:
        _one_of(self, "data", "format", ("tsv", "jsonl", "dailydialog", "cornell", "smalltalk"))
        _one_of(self, "data", "tokenizer", ("basic_english", "whitespace", "char", "jieba"))
        _one_of(self, "data", "pairing", ("forward", "reverse", "unconditional"))
        _at_least(self, "data", 1, "context_turns", "min_count", "max_message_tokens")
        _at_least(self, "data", 1, "max_response_tokens")
        _at_least(self, "data", 6, "vocabulary_size")
        _at_least(self, "data", 0, "workers", "max_malformed_share")


@dataclass
class ModelConfig:
    """Widths."""

    embedding_size: int = 256
    hidden_size: int = 256
    bag_size: int = 256
    predictor_size: int = 256
    latent_size: int = 0
    dropout: float = 0.2

    def __post_init__(self) -> None:
        _at_least(self, "model", 1, "embedding_size", "hidden_size", "bag_size", "predictor_size")
        _at_least(self, "model", 0, "latent_size")
        if not 0 <= self.dropout < 1:
            raise ConfigError(f"model.dropout must be at least 0 and below 1, got {self.dropout:g}")


@dataclass
class NegativesConfig:
    """What pushes the probability of words that are not in the response down."""

    kind: str = "full"
    weight: float = 1.0
    number: int = 500
    exponent: float = 1.0

    def __post_init__(self) -> None:
        _one_of(self, "objective.negatives", "kind", ("none", "full", "sampled"))
        _at_least(self, "objective.negatives", 0, "weight", "exponent")
        _at_least(self, "objective.negatives", 1, "number")


PLAIN = ("cross_entropy", "cvae")
"""Values of ``objective.kind`` without a word predictor, over the full vocabulary only."""


@dataclass
class ObjectiveConfig:
    """What is maximised."""

    kind: str = "joint"
    pretrain_share: float = 0.5
    num_samples: int = 2
    estimator: str = "local_expectation"
    baseline: str = "leave_one_out"
    momentum: float = 0.95
    full_weight: float = 0.0
    negatives: NegativesConfig = field(default_factory=NegativesConfig)
    price_form: str = "logistic"
    price: float = 0.0
    budget: float = 0.0
    budget_rate: float = 0.05
    anneal_share: float = 0.5
    bow_weight: float = 1.0

    def __post_init__(self) -> None:
        _one_of(self, "objective", "kind", ("cross_entropy", "separate", "joint", "words", "cvae"))
        _at_least(self, "objective", 0, "bow_weight")
        _one_of(self, "objective", "estimator", ("score_function", "local_expectation"))
        _one_of(self, "objective", "baseline", ("none", "running", "leave_one_out"))
        _one_of(self, "objective", "price_form", ("logistic", "linear"))
        _at_least(self, "objective", 0, "full_weight", "price", "budget", "budget_rate")
        _at_least(self, "objective", 1, "num_samples")
        if self.budget and self.price:
            raise ConfigError(
                f"give one of objective.price and objective.budget, got {self.price:g} and "
                f"{self.budget:g}: a budget finds its own price"
            )
        for name in ("pretrain_share", "anneal_share"):
            if not 0 <= getattr(self, name) <= 1:
                raise ConfigError(f"objective.{name} must lie in 0..1, got {getattr(self, name):g}")
        if not 0 <= self.momentum < 1:
            raise ConfigError(f"objective.momentum must be 0 to below 1, got {self.momentum:g}")
        scored = self.kind == "joint" and self.estimator == "score_function"
        if scored and self.baseline == "leave_one_out" and self.num_samples < 2:
            raise ConfigError(
                "objective.baseline=leave_one_out needs objective.num_samples of at least 2, "
                f"got {self.num_samples}: use objective.baseline=running"
            )


@dataclass
class OptimConfig:
    """Optimiser and learning rate."""

    kind: str = "adamw"
    lr: float = 1e-3
    beta2: float = 0.999
    weight_decay: float = 0.01
    warmup: int = 200
    decay: str = "cosine"
    min_lr: float = 0.0
    patience: int = 1
    clip_norm: float = 5.0

    def __post_init__(self) -> None:
        _one_of(self, "optim", "kind", ("adadelta", "adamw"))
        _one_of(self, "optim", "decay", ("constant", "inverse_sqrt", "cosine"))
        _at_least(self, "optim", 0, "weight_decay", "warmup", "min_lr", "clip_norm")
        _at_least(self, "optim", 1, "patience")
        if not 0 <= self.beta2 < 1:
            raise ConfigError(f"optim.beta2 must be at least 0 and below 1, got {self.beta2:g}")
        if not self.lr > 0:
            raise ConfigError(f"optim.lr must be above 0, got {self.lr:g}")


SHORTLISTS = ("frequency", "lexical")
"""Values of ``search.vocabulary`` that count the training corpus in place of asking β."""


@dataclass
class SearchConfig:
    """How a reply is found, and over which words."""

    kind: str = "beam"
    beam: int = 20
    num_best: int = 1
    length_penalty: float = 0.0
    min_length: int = 1
    max_length: int = 40
    block_ngram: int = 0
    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    seed: int = 0
    vocabulary: str = "size"
    size: int = 1000
    threshold: float = 0.01
    alpha: float = 0.0
    message_words: bool = True

    def __post_init__(self) -> None:
        choices = ("size", "threshold", "full", *SHORTLISTS)
        _one_of(self, "search", "vocabulary", choices)
        _at_least(self, "search", 1, "size")
        if not 0 < self.threshold < 1:
            raise ConfigError(f"search.threshold must lie between 0 and 1, got {self.threshold:g}")
        if not 0 <= self.alpha < float("inf"):
            raise ConfigError(f"search.alpha must be 0 or more, got {self.alpha:g}")
        if self.alpha and self.vocabulary != "size":
            raise ConfigError(
                f"search.alpha={self.alpha:g} ranks words for search.vocabulary=size only, "
                f"got {self.vocabulary}: set search.alpha=0"
            )
        try:
            self.options()
        except ValueError as error:
            raise ConfigError(str(error)) from error

    @property
    def is_sized(self) -> bool:
        """Whether T has ``size`` words."""
        return self.vocabulary == "size" or self.vocabulary in SHORTLISTS

    def options(self) -> SearchOptions:
        """Returns the part of it that the search itself reads."""
        names = {f.name for f in fields(SearchOptions)}
        return SearchOptions(**{name: getattr(self, name) for name in names})


@dataclass
class TrainerConfig:
    """The loop."""

    run: str = "runs/${data.name}"
    max_updates: int = 10000
    max_minutes: float = 0.0
    batch_size: int = 64
    max_tokens: int = 0
    validate_every: int = 500
    save_every: int = 500
    log_every: int = 20
    patience: int = 0
    accumulate: int = 1
    max_bad_updates: int = 10
    keep: int = 1
    samples: int = 4
    seed: int = 0
    threads: int = 0
    logits_chunk: int = 0
    device: str = "cpu"
    progress: str = "bar"
    resume: bool = True

    def __post_init__(self) -> None:
        _at_least(self, "trainer", 1, "max_updates", "validate_every", "save_every", "log_every")
        _at_least(self, "trainer", 1, "accumulate", "keep")
        _at_least(self, "trainer", 0, "max_minutes", "max_tokens", "batch_size", "patience")
        _at_least(self, "trainer", 0, "max_bad_updates", "samples", "threads", "seed")
        _at_least(self, "trainer", 0, "logits_chunk")
        _one_of(self, "trainer", "progress", ("bar", "lines", "none"))
        if (self.batch_size == 0) == (self.max_tokens == 0):
            raise ConfigError(
                "give exactly one of trainer.batch_size (pairs) and trainer.max_tokens, "
                f"got {self.batch_size} and {self.max_tokens}: set the other to 0"
            )


@dataclass
class TrainConfig:
    """Everything ``python -m dvs2s.cli.train`` reads; saved with every checkpoint."""

    data: DataConfig = field(default_factory=DataConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    objective: ObjectiveConfig = field(default_factory=ObjectiveConfig)
    optim: OptimConfig = field(default_factory=OptimConfig)
    search: SearchConfig = field(default_factory=SearchConfig)
    trainer: TrainerConfig = field(default_factory=TrainerConfig)

    def __post_init__(self) -> None:
        cosine = self.optim.kind == "adamw" and self.optim.decay == "cosine"
        if cosine and self.optim.warmup >= self.trainer.max_updates:
            raise ConfigError(
                f"optim.warmup must be below trainer.max_updates = {self.trainer.max_updates} "
                f"with optim.decay=cosine, got {self.optim.warmup}"
            )
        if self.data.pairing != "forward" and self.objective.kind != "cross_entropy":
            raise ConfigError(
                f"data.pairing={self.data.pairing} makes a partner for reranking, a plain seq2seq "
                f"model: set objective=s2sa, got objective.kind={self.objective.kind}"
            )
        if self.search.vocabulary in SHORTLISTS:
            raise ConfigError(
                f"search.vocabulary={self.search.vocabulary} is a control for a trained model: "
                f"give it to dvs2s.cli.evaluate, not to training"
            )
        kind = self.objective.kind
        if kind in PLAIN and self.search.vocabulary != "full":
            raise ConfigError(
                f"objective.kind={kind} trains no word predictor: set search.vocabulary=full"
            )
        if (kind == "cvae") != (self.model.latent_size > 0):
            raise ConfigError(
                f"model.latent_size above 0 and objective.kind=cvae belong together, got "
                f"{self.model.latent_size} and {kind}: set objective=cvae, or model.latent_size=0"
            )
