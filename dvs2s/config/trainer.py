"""Options of the loop."""

from dataclasses import dataclass

from dvs2s.config.checks import at_least, one_of
from dvs2s.errors import ConfigError


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
    precision: str = "fp32"
    compile: bool = False
    prefetch: int = 2
    progress: str = "bar"
    resume: bool = True

    def __post_init__(self) -> None:
        at_least(self, "trainer", 1, "max_updates", "validate_every", "save_every", "log_every")
        at_least(self, "trainer", 1, "accumulate", "keep")
        at_least(self, "trainer", 0, "max_minutes", "max_tokens", "batch_size", "patience")
        at_least(self, "trainer", 0, "max_bad_updates", "samples", "threads", "seed")
        at_least(self, "trainer", 0, "logits_chunk", "prefetch")
        one_of(self, "trainer", "precision", ("fp32", "bf16"))
        one_of(self, "trainer", "progress", ("bar", "lines", "none"))
        if (self.batch_size == 0) == (self.max_tokens == 0):
            raise ConfigError(
                "give exactly one of trainer.batch_size (pairs) and trainer.max_tokens, "
                f"got {self.batch_size} and {self.max_tokens}: set the other to 0"
            )
