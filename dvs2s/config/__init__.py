"""The schema of every option, with its range checks. YAML only chooses and overrides.

Hydra merges ``conf/`` into these dataclasses, so a misspelt key or a wrong type is refused at
composition; ``__post_init__`` refuses values out of range, naming option, value and range.
"""

from dvs2s.config.data import DataConfig
from dvs2s.config.model import ModelConfig
from dvs2s.config.objective import PLAIN, NegativesConfig, ObjectiveConfig
from dvs2s.config.optim import OptimConfig
from dvs2s.config.search import SHORTLISTS, SearchConfig
from dvs2s.config.sweep import SweepConfig
from dvs2s.config.train import TrainConfig
from dvs2s.config.trainer import TrainerConfig

__all__ = [
    "DataConfig",
    "ModelConfig",
    "PLAIN",
    "NegativesConfig",
    "ObjectiveConfig",
    "OptimConfig",
    "SHORTLISTS",
    "SearchConfig",
    "SweepConfig",
    "TrainerConfig",
    "TrainConfig",
]
