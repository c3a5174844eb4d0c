"""Options of a job of a sweep."""

from dataclasses import dataclass, field

from dvs2s.config.checks import at_least, one_of
from dvs2s.errors import ConfigError

VALUES = ("loss", "decode_ms", "parameters")
"""What a job can report to a sweeper; less is better in all of them."""


@dataclass
class SweepConfig:
    """What a job reports to the sweeper, and when it is given up."""

    returns: list[str] = field(default_factory=lambda: ["loss"])
    prune: str = "none"
    prune_startup: int = 4
    prune_warmup: int = 0
    decode_messages: int = 40

    def __post_init__(self) -> None:
        one_of(self, "sweep", "prune", ("none", "median"))
        at_least(self, "sweep", 1, "prune_startup", "decode_messages")
        at_least(self, "sweep", 0, "prune_warmup")
        unknown = [name for name in self.returns if name not in VALUES]
        if unknown or not self.returns:
            raise ConfigError(
                f"sweep.returns must be one or more of {', '.join(VALUES)}, got {self.returns}"
            )
