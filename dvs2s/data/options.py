"""What can be chosen when a corpus is prepared."""

import os
from dataclasses import asdict, dataclass
from typing import Any

from dvs2s.data.lines import DEFAULT_LINE_LIMIT
from dvs2s.data.readers import FORMATS
from dvs2s.text.function_words import check_rule
from dvs2s.text.tokenizer import TOKENIZER_NAMES

_MOST_WORKERS = 4


@dataclass(frozen=True)
class PrepareOptions:
    """Choices for `prepare`; all but `workers` change the result.

    Args:
        format: tsv, jsonl, dailydialog, cornell or smalltalk.
        tokenizer: basic_english, whitespace, char or jieba.
        context_turns: turns before the response that make the message, joined by SEP; 1 = only the
            last one.
        vocabulary_size: most frequent words to keep, the five specials not counted.
        min_count: words that occur less often in the training split are left out.
        function_words: rule for the words that are in every dynamic vocabulary: english,
            jieba_tags, list:<file> or rank:<n>.
        max_message_tokens: longer messages lose their first tokens.
        max_response_tokens: longer responses lose their last tokens.
        max_malformed_share: share of unreadable lines of a split, 0 to 1, above which to give up.
        drop_train_duplicates: leave out training pairs whose last turn and response also occur
            as a pair in another split.
        max_line_bytes: longer lines are malformed.
        workers: processes that tokenise; 0 = one per processor, at most 4.

    Raises:
        ValueError: a choice is unknown or out of range.
    """

    format: str = "tsv"
    tokenizer: str = "basic_english"
    context_turns: int = 1
    vocabulary_size: int = 30_000
    min_count: int = 1
    function_words: str = "english"
    max_message_tokens: int = 50
    max_response_tokens: int = 40
    max_malformed_share: float = 0.01
    drop_train_duplicates: bool = True
    max_line_bytes: int = DEFAULT_LINE_LIMIT
    workers: int = 0

    def __post_init__(self) -> None:
        _check_choice("format", self.format, FORMATS)
        _check_choice("tokenizer", self.tokenizer, TOKENIZER_NAMES)
        check_rule(self.function_words)
        for name in (
            "context_turns",
            "vocabulary_size",
            "min_count",
            "max_message_tokens",
            "max_response_tokens",
            "max_line_bytes",
        ):
            _check_at_least(name, getattr(self, name), 1)
        _check_at_least("workers", self.workers, 0)
        if not 0 <= self.max_malformed_share <= 1:
            raise ValueError(f"max_malformed_share must be 0 to 1, got {self.max_malformed_share}")

    @property
    def num_workers(self) -> int:
        """The number of processes after resolving 0."""
        return self.workers or min(os.cpu_count() or 1, _MOST_WORKERS)

    def content(self) -> dict[str, Any]:
        """Returns the choices that change the result, as JSON types."""
        choices = asdict(self)
        del choices["workers"]
        return choices


def _check_choice(name: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise ValueError(f"{name} must be one of {', '.join(choices)}, got {value!r}")


def _check_at_least(name: str, value: int, least: int) -> None:
    if type(value) is not int or value < least:
        raise ValueError(f"{name} must be a whole number of at least {least}, got {value!r}")
