"""All options of a training, and what they ask of each other."""

from dataclasses import dataclass, field

from dvs2s.config.data import DataConfig
from dvs2s.config.model import ModelConfig
from dvs2s.config.objective import PLAIN, ObjectiveConfig
from dvs2s.config.optim import OptimConfig
from dvs2s.config.search import SHORTLISTS, SearchConfig
from dvs2s.config.sweep import SweepConfig
from dvs2s.config.trainer import TrainerConfig
from dvs2s.errors import ConfigError


@dataclass
class TrainConfig:
    """Everything ``python -m dvs2s.cli.train`` reads; saved with every checkpoint."""

    data: DataConfig = field(default_factory=DataConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    objective: ObjectiveConfig = field(default_factory=ObjectiveConfig)
    optim: OptimConfig = field(default_factory=OptimConfig)
    search: SearchConfig = field(default_factory=SearchConfig)
    trainer: TrainerConfig = field(default_factory=TrainerConfig)
    sweep: SweepConfig = field(default_factory=SweepConfig)

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
        if self.search.vocabulary == "conformal":
            raise ConfigError(
                "search.vocabulary=conformal is for a trained model that dvs2s.cli.calibrate has "
                "calibrated: train with search.vocabulary=size or threshold"
            )
        if self.search.generic_share < 1:
            raise ConfigError(
                f"search.generic_share={self.search.generic_share} is for a trained model that "
                f"dvs2s.cli.generic has priced: train with search.generic_share=1"
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
        if (kind == "ta_s2s") != (self.model.num_topics > 0):
            raise ConfigError(
                f"model.num_topics above 0 and objective.kind=ta_s2s belong together, got "
                f"{self.model.num_topics} and {kind}: set objective=ta_s2s, or model.num_topics=0"
            )
