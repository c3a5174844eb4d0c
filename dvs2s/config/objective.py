"""Options of what is maximised."""

from dataclasses import dataclass, field

from dvs2s.config.checks import at_least, one_of
from dvs2s.errors import ConfigError

BASELINES = ("none", "running", "leave_one_out", "learned", "closed_form")


@dataclass
class NegativesConfig:
    """What pushes the probability of words that are not in the response down."""

    kind: str = "full"
    weight: float = 1.0
    number: int = 500
    exponent: float = 1.0

    def __post_init__(self) -> None:
        one_of(self, "objective.negatives", "kind", ("none", "full", "sampled"))
        at_least(self, "objective.negatives", 0, "weight", "exponent")
        at_least(self, "objective.negatives", 1, "number")


KINDS = ("cross_entropy", "separate", "joint", "words", "cvae", "ta_s2s")
PLAIN = ("cross_entropy", "cvae", "ta_s2s")
"""Values of ``objective.kind`` without a word predictor, over the full vocabulary only."""


@dataclass
class ObjectiveConfig:
    """What is maximised."""

    kind: str = "joint"
    bound: str = "monte_carlo"
    pretrain_share: float = 0.5
    num_samples: int = 2
    estimator: str = "local_expectation"
    baseline: str = "leave_one_out"
    momentum: float = 0.95
    full_weight: float = 0.0
    full_share: float = 0.0
    extra_words: int = 0
    negatives: NegativesConfig = field(default_factory=NegativesConfig)
    price_form: str = "logistic"
    price: float = 0.0
    budget: float = 0.0
    budget_rate: float = 0.05
    anneal_share: float = 0.5
    bow_weight: float = 1.0
    topic_common: int = 200
    topic_passes: int = 3
    topic_pairs: int = 200_000

    def __post_init__(self) -> None:
        one_of(self, "objective", "kind", KINDS)
        at_least(self, "objective", 0, "bow_weight", "topic_common", "topic_pairs")
        at_least(self, "objective", 1, "topic_passes")
        one_of(self, "objective", "estimator", ("score_function", "local_expectation"))
        one_of(self, "objective", "bound", ("monte_carlo", "multi_sample", "closed_form"))
        one_of(self, "objective", "baseline", BASELINES)
        one_of(self, "objective", "price_form", ("logistic", "linear"))
        at_least(self, "objective", 0, "full_weight", "price", "budget", "budget_rate")
        at_least(self, "objective", 0, "extra_words")
        at_least(self, "objective", 1, "num_samples")
        if self.budget and self.price:
            raise ConfigError(
                f"give one of objective.price and objective.budget, got {self.price:g} and "
                f"{self.budget:g}: a budget finds its own price"
            )
        for name in ("pretrain_share", "anneal_share"):
            if not 0 <= getattr(self, name) <= 1:
                raise ConfigError(f"objective.{name} must lie in 0..1, got {getattr(self, name):g}")
        for name in ("momentum", "full_share"):
            if not 0 <= getattr(self, name) < 1:
                raise ConfigError(
                    f"objective.{name} must be 0 to below 1, got {getattr(self, name):g}"
                )
        sampled = self.kind == "joint" and self.bound != "closed_form"
        scored = sampled and self.estimator == "score_function"
        if scored and self.baseline == "leave_one_out" and self.num_samples < 2:
            raise ConfigError(
                "objective.baseline=leave_one_out needs objective.num_samples of at least 2, "
                f"got {self.num_samples}: use objective.baseline=running"
            )
