"""Options of the optimiser."""

from dataclasses import dataclass

from dvs2s.config.checks import at_least, one_of
from dvs2s.errors import ConfigError


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
        one_of(self, "optim", "kind", ("adadelta", "adamw"))
        one_of(self, "optim", "decay", ("constant", "inverse_sqrt", "cosine"))
        at_least(self, "optim", 0, "weight_decay", "warmup", "min_lr", "clip_norm")
        at_least(self, "optim", 1, "patience")
        if not 0 <= self.beta2 < 1:
            raise ConfigError(f"optim.beta2 must be at least 0 and below 1, got {self.beta2:g}")
        if not self.lr > 0:
            raise ConfigError(f"optim.lr must be above 0, got {self.lr:g}")
