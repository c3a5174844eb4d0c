"""From a search configuration and β to the vocabulary of each input."""

from dataclasses import replace

import torch
from torch import Tensor

from dvs2s.config import SearchConfig
from dvs2s.coverage.calibration import Calibration
from dvs2s.dynamic_vocab import DynamicVocab, select_words
from dvs2s.text.vocabulary import Vocabulary


def check_size(search: SearchConfig, vocabulary: Vocabulary) -> None:
    """Checks that T has room for the words that are always in.

    Raises:
        ValueError: it has not.
    """
    if search.is_sized and search.size < vocabulary.num_fixed:
        raise ValueError(
            f"search.size must be at least the {vocabulary.num_fixed} special and function words "
            f"that are always in, got {search.size}: set search.size={vocabulary.num_fixed} or more"
        )


class Selector:
    """Chooses T as ``search.vocabulary`` and its companions say.

    Args:
        vocabulary: the full one.
        device: of the tensors that it will see.
        calibration: the levels of ``search.vocabulary=conformal``; None without.
    """

    def __init__(
        self,
        vocabulary: Vocabulary,
        device: torch.device,
        calibration: Calibration | None = None,
    ) -> None:
        self.vocabulary, self.calibration = vocabulary, calibration
        counts = torch.tensor(vocabulary.counts[vocabulary.num_fixed :], device=device)
        self._log_frequency = (counts.float().clamp_min(0.5) / vocabulary.total_tokens).log()

    def resolved(self, search: SearchConfig) -> SearchConfig:
        """Returns the settings with a guarantee replaced by the threshold or size that gives it.

        Raises:
            ValueError: the model was not calibrated, or not for this guarantee.
        """
        if search.vocabulary != "conformal":
            return search
        if self.calibration is None:
            raise ValueError(
                "search.vocabulary=conformal needs a calibrated checkpoint, and this one is not: "
                "run python -m dvs2s.cli.calibrate checkpoint=..."
            )
        level = self.calibration.level(
            search.coverage_alpha, search.coverage_of, message_words=search.message_words
        )
        if search.coverage_by == "size":
            size = max(level.size, self.vocabulary.num_fixed)
            # the sizes were found by β alone
            return replace(search, vocabulary="size", size=size, alpha=0.0)
        if level.threshold is None:
            return replace(search, vocabulary="full")
        return replace(search, vocabulary="threshold", threshold=level.threshold)

    def penalty(self, search: SearchConfig) -> Tensor | None:
        """Returns (C,) float that the selection exponent takes from the ranks; None for none.

        A threshold asks for β itself, and a shortlist for its own order.
        """
        is_ranked = search.vocabulary == "size" and search.alpha
        return search.alpha * self._log_frequency if is_ranked else None

    def __call__(
        self,
        search: SearchConfig,
        log_odds: Tensor,
        messages: Tensor,
        allow: Tensor | None = None,
    ) -> DynamicVocab:
        """Returns one vocabulary an input.

        Args:
            search: size or threshold, selection exponent, message words.
            log_odds: (B, C) float, logits of β, or a shortlist's.
            messages: (B, S) int64, padded with 0.
            allow: (B, V) bool, further words that come in; None for none.

        Raises:
            ValueError: a size below the number of special and function words, or a guarantee
                that the model was not calibrated for.
        """
        search = self.resolved(search)
        batch, total = log_odds.shape[0], len(self.vocabulary)
        if search.vocabulary == "full" or (search.is_sized and search.size >= total):
            return DynamicVocab.full(batch, total, log_odds.device)
        include = torch.zeros(batch, total, dtype=torch.bool, device=log_odds.device)
        if search.message_words:
            include.scatter_(1, messages, True)
        if allow is not None:
            include |= allow
        return select_words(
            log_odds,
            num_fixed=self.vocabulary.num_fixed,
            size=search.size if search.is_sized else None,
            threshold=search.threshold if search.vocabulary == "threshold" else None,
            penalty=self.penalty(search),
            include=include,
        )
