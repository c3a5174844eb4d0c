"""The options of a sweep's summary."""

from dataclasses import dataclass

from dvs2s.errors import ConfigError


@dataclass
class SummaryConfig:
    """``python -m dvs2s.cli.sweep``."""

    folder: str = ""
    out: str = ""
    scaling: str = "auto"
    resamples: int = 200
    pictures: bool = True

    def __post_init__(self) -> None:
        if self.scaling not in ("auto", "yes", "no"):
            raise ConfigError(f"scaling must be one of auto, yes, no, got {self.scaling!r}")
        if self.resamples < 1:
            raise ConfigError(f"resamples must be at least 1, got {self.resamples}")
