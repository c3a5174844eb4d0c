"""DynamicVocab: the words that each input of a batch may be answered with.

The value that carries the paper's idea through model, objectives, search and kernels. Outside of
it and the operators nobody handles raw id lists. ``slot`` is a place in an input's dynamic
vocabulary, ``word`` an id in the full one.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from dvs2s import ops


@dataclass(frozen=True)
class DynamicVocab:
    """Words per input, ascending and unique; slots past the length are masked.

    Args:
        ids: (B, K) int64; within a row's length ascending and unique, past it 0.
        lengths: (B,) int64 in 1..K.
        vocabulary_size: V, the size of the full vocabulary.
    """

    ids: Tensor
    lengths: Tensor
    vocabulary_size: int

    def __post_init__(self) -> None:
        if self.ids.dim() != 2 or self.lengths.shape != self.ids.shape[:1]:
            raise ValueError(
                f"ids must be (B, K) and lengths (B,), got {tuple(self.ids.shape)} and "
                f"{tuple(self.lengths.shape)}"
            )

    @staticmethod
    def from_membership(membership: Tensor) -> "DynamicVocab":
        """Returns the words that are True in each row.

        Args:
            membership: (B, V) bool with at least one True a row.

        Raises:
            ValueError: not a (B, V) bool tensor, or a row without a word.
        """
        ids, lengths = ops.compact(membership)
        if bool((lengths == 0).any()):
            raise ValueError("membership has a row without a word: keep the function words in")
        return DynamicVocab(ids, lengths, membership.shape[1])

    @staticmethod
    def full(batch_size: int, vocabulary_size: int, device: torch.device) -> "DynamicVocab":
        """Returns the ordinary vocabulary, so that the plain seq2seq model is the same code."""
        ids = torch.arange(vocabulary_size, device=device).expand(batch_size, -1)
        lengths = torch.full((batch_size,), vocabulary_size, device=device)
        return DynamicVocab(ids, lengths, vocabulary_size)

    @property
    def keep(self) -> Tensor:
        """(B, K) bool, True where the slot holds a word."""
        slots = torch.arange(self.ids.shape[1], device=self.ids.device)
        return slots[None] < self.lengths[:, None]

    def membership(self) -> Tensor:
        """Returns (B, V) bool, True where a word is in the input's vocabulary."""
        full = torch.zeros(
            self.ids.shape[0], self.vocabulary_size, dtype=torch.bool, device=self.ids.device
        )
        # past the length the id is 0; only True is written, so padding cannot erase a word
        rows, slots = self.keep.nonzero(as_tuple=True)
        full[rows, self.ids[rows, slots]] = True
        return full

    def words(self, slots: Tensor) -> Tensor:
        """Returns the words (B, ...) that stand in ``slots`` (B, ...) int64."""
        return self.ids.gather(1, slots.flatten(1)).view_as(slots)

    def slots(self, words: Tensor) -> Tensor:
        """Returns the slots (B, ...) of ``words`` (B, ...) int64, or -1 for a word not in it."""
        beyond = torch.iinfo(torch.int64).max
        sorted_ids = self.ids.masked_fill(~self.keep, beyond).contiguous()
        flat = words.flatten(1).contiguous()
        found = torch.searchsorted(sorted_ids, flat).clamp_(max=self.ids.shape[1] - 1)
        hit = sorted_ids.gather(1, found) == flat
        return torch.where(hit, found, torch.full_like(found, -1)).view_as(words)

    def row(self, index: int) -> list[int]:
        """Returns the words of one input, ascending."""
        words: list[int] = self.ids[index, : int(self.lengths[index])].tolist()
        return words


def select_words(
    log_odds: Tensor,
    *,
    num_fixed: int,
    size: int | None = None,
    threshold: float | None = None,
    penalty: Tensor | None = None,
    include: Tensor | None = None,
) -> DynamicVocab:
    """Chooses the vocabulary of each input at inference: function words and likely content words.

    Exactly one of ``size`` and ``threshold`` is given.

    Args:
        log_odds: (B, C) float, the logits of β for the content words ``num_fixed .. V-1``.
        num_fixed: number of words that are always in: special and function words, ids 0 upward.
        size: |T|, function words counted; at least ``num_fixed``. The ``size - num_fixed``
            content words that rank highest come in.
        threshold: τ in (0, 1): content words with β ≥ τ come in.
        penalty: (C,) float subtracted from the rank of ``size`` only, ``α · log freq`` for the
            selection exponent α; None ranks by β itself.
        include: (B, V) bool, words that come in first whatever their β, such as the message's
            own; with ``size`` they take places, and more of them than places widen T.

    Returns:
        one vocabulary an input, fixed for the whole response.

    Raises:
        ValueError: not exactly one of size and threshold, or one out of range.

    Source: paper, inference: T = F ∪ {the M content words of highest β}; selection exponent and
        threshold: docs/model.md, "Choosing T at inference".
    """
    if (size is None) == (threshold is None):
        raise ValueError("give exactly one of size and threshold")
    content = log_odds.shape[1]
    if threshold is not None:
        if not 0 < threshold < 1:
            raise ValueError(f"threshold must be between 0 and 1, got {threshold}")
        shape = (log_odds.shape[0], num_fixed + content)
        chosen = log_odds.new_zeros(shape, dtype=torch.bool) if include is None else include.clone()
        chosen[:, :num_fixed] = True
        chosen[:, num_fixed:] |= log_odds.sigmoid() >= threshold
        return DynamicVocab.from_membership(chosen)
    assert size is not None
    if size < num_fixed:
        raise ValueError(
            f"size must be at least the {num_fixed} special and function words that are always "
            f"in, got {size}: ask for more words"
        )
    rank = log_odds if penalty is None else torch.nn.functional.logsigmoid(log_odds) - penalty
    ids, lengths = ops.select(rank, num_fixed=num_fixed, size=size, include=include)
    return DynamicVocab(ids, lengths, num_fixed + content)
