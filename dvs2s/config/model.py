"""Options of the network."""

from dataclasses import dataclass

from dvs2s.config.checks import at_least
from dvs2s.errors import ConfigError


@dataclass
class ModelConfig:
    """Widths."""

    embedding_size: int = 256
    hidden_size: int = 256
    bag_size: int = 256
    predictor_size: int = 256
    latent_size: int = 0
    num_topics: int = 0
    topic_words: int = 100
    dropout: float = 0.2

    def __post_init__(self) -> None:
        at_least(self, "model", 1, "embedding_size", "hidden_size", "bag_size", "predictor_size")
        at_least(self, "model", 0, "latent_size", "num_topics")
        at_least(self, "model", 1, "topic_words")
        if not 0 <= self.dropout < 1:
            raise ConfigError(f"model.dropout must be at least 0 and below 1, got {self.dropout:g}")
