"""The options of the commands that use a checkpoint."""

from dataclasses import dataclass, field, fields
from typing import Any

from dvs2s.config import DataConfig
from dvs2s.errors import ConfigError
from dvs2s.serving.options import ServerOptions


@dataclass
class SearchOverrides:
    """``SearchConfig`` with everything optional: what is not given is as in the checkpoint."""

    kind: str | None = None
    beam: int | None = None
    num_best: int | None = None
    length_penalty: float | None = None
    min_length: int | None = None
    max_length: int | None = None
    block_ngram: int | None = None
    temperature: float | None = None
    top_k: int | None = None
    top_p: float | None = None
    groups: int | None = None
    diversity: float | None = None
    seed: int | None = None
    vocabulary: str | None = None
    size: int | None = None
    threshold: float | None = None
    alpha: float | None = None
    message_words: bool | None = None
    coverage_alpha: float | None = None
    coverage_of: str | None = None
    coverage_by: str | None = None
    generic_share: float | None = None

    def given(self) -> dict[str, Any]:
        """Returns the options that were given."""
        named = {f.name: getattr(self, f.name) for f in fields(self)}
        return {name: value for name, value in named.items() if value is not None}


def _one_of(options: Any, name: str, choices: tuple[str, ...]) -> None:
    value = getattr(options, name)
    if value not in choices:
        raise ConfigError(f"{name} must be one of {', '.join(choices)}, got {value!r}")


@dataclass
class CheckpointConfig:
    """A checkpoint, where to run it, and how to search."""

    checkpoint: str = "runs/smalltalk"
    device: str = "cpu"
    threads: int = 0
    engine: str = "auto"
    precision: str = "fp32"
    search: SearchOverrides = field(default_factory=SearchOverrides)

    def __post_init__(self) -> None:
        if self.threads < 0:
            raise ConfigError(f"threads must be at least 0 (all cores), got {self.threads}")
        _one_of(self, "engine", ("auto", "plain", "compiled"))
        _one_of(self, "precision", ("fp32", "bf16", "int8"))


@dataclass
class ReplyConfig(CheckpointConfig):
    """What chat and generate reply with besides a checkpoint."""

    allow: list[str] = field(default_factory=list)
    forbid: list[str] = field(default_factory=list)
    rerank: str = ""
    partner: str = ""
    rerank_weight: float = 0.5
    rerank_length: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        _one_of(self, "rerank", ("", "anti_lm", "bidirectional"))
        if bool(self.rerank) != bool(self.partner):
            raise ConfigError(
                f"rerank and partner belong together, got rerank={self.rerank!r} "
                f"partner={self.partner!r}: a partner is a run trained with objective=s2sa and "
                f"data.pairing=unconditional (anti_lm) or reverse (bidirectional)"
            )
        if not 0 <= self.rerank_weight < float("inf"):
            raise ConfigError(f"rerank_weight must be at least 0, got {self.rerank_weight}")
        if not abs(self.rerank_length) < float("inf"):
            raise ConfigError(f"rerank_length must be a finite number, got {self.rerank_length}")


@dataclass
class ChatConfig(ReplyConfig):
    """``python -m dvs2s.cli.chat``."""

    show_words: int = 12

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.show_words < 0:
            raise ConfigError(f"show_words must be at least 0, got {self.show_words}")


@dataclass
class GenerateConfig(ReplyConfig):
    """``python -m dvs2s.cli.generate``."""

    input: str = "-"
    output: str = "-"
    format: str = "auto"
    batch_size: int = 32

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.format not in ("auto", "text", "jsonl"):
            raise ConfigError(f"format must be one of auto, text, jsonl, got {self.format!r}")
        if self.batch_size < 1:
            raise ConfigError(f"batch_size must be at least 1, got {self.batch_size}")


@dataclass
class EvaluateConfig(CheckpointConfig):
    """``python -m dvs2s.cli.evaluate``."""

    split: str = "test"
    limit: int = 0
    batch_size: int = 32
    out: str = ""
    replies: str = ""
    name: str = ""
    data_root: str = ""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.split not in ("train", "valid", "test"):
            raise ConfigError(f"split must be one of train, valid, test, got {self.split!r}")
        if self.limit < 0:
            raise ConfigError(f"limit must be at least 0 (all pairs), got {self.limit}")
        if self.batch_size < 1:
            raise ConfigError(f"batch_size must be at least 1, got {self.batch_size}")


@dataclass
class LensConfig(CheckpointConfig):
    """``python -m dvs2s.cli.lens``."""

    message: str = ""
    words: int = 25
    out: str = ""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.words < 1:
            raise ConfigError(f"words must be at least 1, got {self.words}")
        if self.out and not self.out.endswith((".png", ".json")):
            raise ConfigError(f"out must be a file ending in .png or .json, got {self.out!r}")


@dataclass
class CalibrateConfig:
    """``python -m dvs2s.cli.calibrate``."""

    checkpoint: str = "runs/smalltalk"
    device: str = "cpu"
    threads: int = 0
    alpha: Any = field(default_factory=lambda: [0.01, 0.05, 0.1, 0.2])
    split: str = "valid"
    report: str = "test"
    data_root: str = ""
    out: str = ""

    def __post_init__(self) -> None:
        if self.threads < 0:
            raise ConfigError(f"threads must be at least 0 (all cores), got {self.threads}")
        self.alpha = _shares("alpha", self.alpha)
        _check_held_out(self.split, self.report)


@dataclass
class GenericConfig(CheckpointConfig):
    """``python -m dvs2s.cli.generic``."""

    share: Any = field(default_factory=lambda: [0.1, 0.2])
    replies: int = 20
    split: str = "valid"
    report: str = "test"
    limit: int = 2000
    batch_size: int = 32
    data_root: str = ""
    out: str = ""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.share = _shares("share", self.share)
        _check_held_out(self.split, self.report)
        for name, low in (("replies", 1), ("limit", 0), ("batch_size", 1)):
            if getattr(self, name) < low:
                raise ConfigError(f"{name} must be at least {low}, got {getattr(self, name)}")


def _shares(name: str, given: Any) -> list[float]:
    """Returns one number or several as a list, rising."""
    values = given if isinstance(given, list) else [given]
    is_number = [isinstance(v, int | float) and not isinstance(v, bool) for v in values]
    if not values or not all(is_number) or not all(0 < value < 1 for value in values):
        raise ConfigError(
            f"{name} must be one or more numbers between 0 and 1, got {given}: such as "
            f"{name}=0.05 or '{name}=[0.05,0.1]'"
        )
    return sorted({float(value) for value in values})


def _check_held_out(split: str, report: str) -> None:
    if split in ("train", "test"):
        raise ConfigError(
            f"split must be held-out pairs other than those of the test, got {split!r}: "
            f"leave split=valid"
        )
    if report == split:
        raise ConfigError(
            f"report must be another split than the one to calibrate on, or empty for none, "
            f"got {report!r}"
        )


@dataclass
class PrepareConfig:
    """``python -m dvs2s.cli.prepare``."""

    data: DataConfig = field(default_factory=DataConfig)
    force: bool = False


@dataclass
class ServeConfig(CheckpointConfig):
    """``python serve.py``."""

    compare: str = ""
    host: str = "127.0.0.1"
    port: int = 8000
    server: ServerOptions = field(default_factory=ServerOptions)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.port <= 65535:
            raise ConfigError(f"port must lie in 0..65535 (0 is any free one), got {self.port}")
        if not self.host:
            raise ConfigError("host must be an address, got '': 0.0.0.0 is all of this machine's")
        if self.precision == "int8" and (self.engine == "plain" or self.device != "cpu"):
            raise ConfigError(
                f"precision=int8 is the compiled engine's, on the CPU, got engine={self.engine} "
                f"device={self.device}: take precision=fp32 or bf16"
            )


# presets of each benchmark; the second is the default
_BENCHMARKS = {
    "decode": ("smoke", "quick", "paper", "scaling", "peers"),
    "ops": ("smoke", "decode", "batch"),
    "routes": ("smoke", "grid"),
    "output_layer": ("smoke", "quick", "paper"),
    "estimators": ("smoke", "quick", "full"),
    "precision": ("smoke", "full"),
    "train": ("smoke", "quick", "paper"),
}


@dataclass
class BenchConfig:
    """``python -m dvs2s.cli.bench``."""

    bench: str = "decode"
    preset: str = ""
    threads: int = 2
    rounds: int = 0
    seed: int = 0
    compiled: bool = False
    clock: str = "wall"
    checkpoint: str = "runs/smalltalk"
    data_root: str = ""
    out: str = ""

    def __post_init__(self) -> None:
        _one_of(self, "clock", ("wall", "cpu"))
        _one_of(self, "bench", tuple(_BENCHMARKS))
        presets = _BENCHMARKS[self.bench]
        self.preset = self.preset or presets[1]
        _one_of(self, "preset", presets)
        if self.threads < 1:
            raise ConfigError(f"threads must be at least 1, got {self.threads}")
        for name in ("rounds", "seed"):
            if getattr(self, name) < 0:
                raise ConfigError(f"{name} must be at least 0, got {getattr(self, name)}")
