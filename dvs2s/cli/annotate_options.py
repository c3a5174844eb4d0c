"""The options of ``python -m dvs2s.cli.annotate``."""

from dataclasses import dataclass, field

from dvs2s.errors import ConfigError

MODES = ("make", "serve", "import", "report")


@dataclass
class AnnotateConfig:
    """What to do, and where the sheet and its labels are."""

    mode: str = "report"
    folder: str = "runs/annotation"
    rows: dict[str, str] = field(default_factory=dict)
    number: int = 100
    seed: int = 0
    host: str = "127.0.0.1"
    port: int = 8765
    annotator: str = ""
    sheet: str = ""

    def __post_init__(self) -> None:
        if self.mode not in MODES:
            raise ConfigError(f"mode must be one of {', '.join(MODES)}, got {self.mode!r}")
        if self.number < 1:
            raise ConfigError(f"number must be at least 1, got {self.number}")
        if self.seed < 0:
            raise ConfigError(f"seed must be at least 0, got {self.seed}")
        if not 0 <= self.port <= 65535:
            raise ConfigError(f"port must be 0 to 65535, got {self.port}")
        if self.mode == "import" and not (self.annotator and self.sheet):
            raise ConfigError("mode=import needs annotator=NAME and sheet=FILE")
