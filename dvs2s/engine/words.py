"""What the engine is told about a batch's vocabularies."""

from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor

from dvs2s.dynamic_vocab import DynamicVocab

WordRule = Literal["size", "threshold", "full", "given"]


@dataclass(frozen=True)
class Words:
    """How the words of each message's replies are chosen; ``select_words`` defines the rules.

    Args:
        rule: "size" and "threshold" as of ``select_words``, "full" for all words, "given" for
            ``vocab``.
        size: |T| of "size", at least the number of fixed words.
        threshold: of "threshold", in (0, 1).
        message_words: whether a message's own words come in.
        penalty: (C,) float32 taken from the rank of "size"; None for none.
        include: (V,) bool, further words that come in; None for none.
        forbid: (V,) bool, words that are never generated although they are in; None for none.
        vocab: the vocabularies of "given".
        wants_odds: whether the logits of β are wanted where the rule itself does not need them.

    Raises:
        ValueError: a rule that there is not, or one without its value.
    """

    rule: WordRule
    size: int = 0
    threshold: float = 0.0
    message_words: bool = False
    penalty: Tensor | None = None
    include: Tensor | None = None
    forbid: Tensor | None = None
    vocab: DynamicVocab | None = None
    wants_odds: bool = False

    def __post_init__(self) -> None:
        if self.rule not in get_args(WordRule):
            choices = ", ".join(get_args(WordRule))
            raise ValueError(f"rule must be one of {choices}, got {self.rule!r}")
        if self.rule == "threshold" and not 0 < self.threshold < 1:
            raise ValueError(f"threshold must be between 0 and 1, got {self.threshold}")
        if (self.rule == "given") != (self.vocab is not None):
            raise ValueError(
                f"vocab goes with rule='given' and only with it, got rule={self.rule!r} and "
                f"{'a' if self.vocab else 'no'} vocab"
            )

    def check(self, *, num_fixed: int, vocabulary_size: int, batch_size: int) -> None:
        """Checks the values against a model and a batch.

        Raises:
            ValueError: a size too small, or a table of another shape or type.
        """
        if self.rule == "size" and self.size < num_fixed:
            raise ValueError(
                f"size must be at least the {num_fixed} special and function words that are always "
                f"in, got {self.size}: ask for more words"
            )
        for name, width, dtype in (
            ("penalty", vocabulary_size - num_fixed, torch.float32),
            ("include", vocabulary_size, torch.bool),
            ("forbid", vocabulary_size, torch.bool),
        ):
            table: Tensor | None = getattr(self, name)
            if table is not None and (tuple(table.shape) != (width,) or table.dtype != dtype):
                raise ValueError(
                    f"{name} must be ({width},) {dtype}, got {tuple(table.shape)} {table.dtype}"
                )
        if self.vocab is not None and self.vocab.ids.shape[0] != batch_size:
            raise ValueError(
                f"vocab must have one row for each of {batch_size} messages, "
                f"got {self.vocab.ids.shape[0]}"
            )
