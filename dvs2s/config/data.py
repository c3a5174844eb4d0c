"""Options of the corpus."""

from dataclasses import dataclass, field

from dvs2s.config.checks import at_least, one_of
from dvs2s.errors import ConfigError


@dataclass
class DataConfig:
    """Where the dialogues are and how text becomes words."""

    name: str = "data"
    format: str = "tsv"
    root: str = "."
    train: list[str] = field(default_factory=list)
    valid: list[str] = field(default_factory=list)
    test: list[str] = field(default_factory=list)
    prepared: str = "prepared/${data.name}"
    tokenizer: str = "basic_english"
    context_turns: int = 1
    pairing: str = "forward"
    vocabulary_size: int = 30000
    min_count: int = 1
    function_words: str = "english"
    max_message_tokens: int = 60
    max_response_tokens: int = 40
    max_malformed_share: float = 0.01
    drop_train_duplicates: bool = True
    workers: int = 0
    vectors: str = ""
    fraction: float = 1.0

    def __post_init__(self) -> None:
        one_of(self, "data", "format", ("tsv", "jsonl", "dailydialog", "cornell", "smalltalk"))
        one_of(self, "data", "tokenizer", ("basic_english", "whitespace", "char", "jieba"))
        one_of(self, "data", "pairing", ("forward", "reverse", "unconditional"))
        at_least(self, "data", 1, "context_turns", "min_count", "max_message_tokens")
        at_least(self, "data", 1, "max_response_tokens")
        at_least(self, "data", 6, "vocabulary_size")
        at_least(self, "data", 0, "workers", "max_malformed_share")
        if not 0 < self.fraction <= 1:
            raise ConfigError(f"data.fraction must be above 0 and at most 1, got {self.fraction:g}")
