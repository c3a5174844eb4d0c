"""What no search may generate: forbidden slots, an early end, a repeated n-gram."""

from typing import Generic

import torch
from torch import Tensor

from dvs2s.decoding.options import SearchOptions
from dvs2s.decoding.protocol import State, StepModel


class Constraints(Generic[State]):
    """The rules of one search over the inputs that are still active.

    Args:
        model: gives the allowed slots and the end-of-sentence slot.
        options: `min_length` and `block_ngram` are read.
    """

    def __init__(self, model: StepModel[State], options: SearchOptions) -> None:
        allowed = model.allowed
        self._min_length = options.min_length
        self._order = options.block_ngram
        # Added to log-probabilities: 0 or -inf. Unlike a fill, a sum lets NaN through to the check.
        self._late = torch.zeros(allowed.shape, device=allowed.device)
        self._late.masked_fill_(~allowed, -torch.inf)  # (B, K)
        self._early = self._late.clone()  # before min_length words
        self._early[:, model.eos_slot] = -torch.inf

    def narrow(self, keep: Tensor) -> None:
        """Go on with the active inputs at the positions `keep` (A',) int64."""
        self._late = self._late[keep]
        self._early = self._early[keep]

    def apply(self, log_probs: Tensor, slots: Tensor) -> Tensor:
        """A new tensor: the log-probabilities with -inf for what may not follow.

        Args:
            log_probs: (A, W, K) of the next word.
            slots: (A, W, t) int64, the words so far.

        Returns:
            (A, W, K); shares no memory with `log_probs`.
        """
        length = slots.size(-1)
        block = self._early if length < self._min_length else self._late
        constrained = log_probs + block[:, None, :]
        if 0 < self._order <= length:
            _block_ngrams(constrained, slots, self._order)
        return constrained


def _block_ngrams(log_probs: Tensor, slots: Tensor, order: int) -> None:
    """Put -inf, in place, on every word that would complete an n-gram that is there already."""
    ngrams = slots.unfold(-1, order, 1)  # (A, W, t - order + 1, order)
    tail = slots[..., slots.size(-1) - order + 1 :]  # (A, W, order - 1)
    repeats = (ngrams[..., :-1] == tail[..., None, :]).all(-1)
    penalty = torch.zeros(repeats.shape, dtype=log_probs.dtype, device=log_probs.device)
    penalty.masked_fill_(repeats, -torch.inf)
    log_probs.scatter_add_(-1, ngrams[..., -1], penalty)


def check_numbers(best: Tensor) -> None:
    """Reject NaN and +inf in the greatest log-probability of each row, where both would surface.

    Raises:
        ValueError: the model gave a value that is no log-probability.
    """
    if not bool((best < torch.inf).all()):  # NaN compares as False
        raise ValueError(
            "log_probs must be free of NaN and +inf, got at least one: "
            "check the model's weights and that every vocabulary holds an allowed word"
        )
