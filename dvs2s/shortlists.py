"""Vocabularies that nobody trained: the controls that a predicted one must beat.

A shortlist ranks the content words for a message as the word predictor does, by log-odds, so T is
chosen from it by the same code and at the same size.
"""

from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dvs2s.data.corpus import PairCorpus
from dvs2s.text.specials import PAD

_CHUNK = 50_000  # pairs whose co-occurrences are counted at a time


class Shortlist(Protocol):
    """Ranks content words for messages."""

    def __call__(self, messages: Tensor) -> Tensor:
        """Returns the log-odds (B, C) float of messages (B, S) int64, padded with 0."""
        ...


class FrequencyShortlist:
    """The same words for everybody: those that most training responses hold.

    Args:
        shares: (C,) float, share of training responses that hold each content word, in (0, 1).
    """

    def __init__(self, shares: Tensor) -> None:
        self._log_odds = shares.double().logit().float()

    def __call__(self, messages: Tensor) -> Tensor:
        """Returns the same log-odds for every message, (B, C)."""
        return self._log_odds.to(messages.device).expand(messages.shape[0], -1)


class LexicalShortlist:
    """Words that answer the message's words in the training pairs, as translation systems choose.

    The share of a word is the mean over the message's different words s of

        p(t | s) = (n(s, t) + λ p(t)) / (n(s) + λ),

    with n(s) messages that hold s, n(s, t) of them whose response holds t, and p(t) the share of
    all responses.

    Args:
        corpus: training pairs.
        shares: (C,) float, p(t) of each content word, in (0, 1).
        num_fixed: special and function words; V = num_fixed + C.
        smoothing: λ, above 0.

    Raises:
        ValueError: ``smoothing`` is not above 0.

    Source: L'Hostis et al. 2016, co-occurrence selection; the mean in place of a union of lists,
        which ranks, so that T has the size that is asked for.
    """

    def __init__(
        self, corpus: PairCorpus, shares: Tensor, *, num_fixed: int, smoothing: float = 1.0
    ) -> None:
        if not smoothing > 0:
            raise ValueError(f"smoothing must be above 0, got {smoothing}: pass 1")
        content = len(shares)
        counts, keys, times = _co_occurrences(corpus, num_fixed, content)
        weight = 1 / (counts + smoothing)  # (V,)
        source = keys // content
        self._shares, self._content = shares.float(), content
        self._prior = torch.from_numpy(smoothing * weight).float()
        self._targets = torch.from_numpy(keys % content)
        self._values = torch.from_numpy(times * weight[source]).float()
        bounds = np.searchsorted(source, np.arange(num_fixed + content + 1))
        self._bounds = torch.from_numpy(bounds)

    def __call__(self, messages: Tensor) -> Tensor:
        """Returns the log-odds of the mean share, (B, C)."""
        words = messages.cpu()
        rows, places = (_is_first(words) & (words != PAD)).nonzero(as_tuple=True)
        sources = words[rows, places]  # (P,) the different words of each message
        share = 1 / torch.bincount(rows, minlength=len(words)).clamp_min(1).float()  # (B,)
        prior = torch.zeros(len(words)).index_add_(0, rows, self._prior[sources] * share[rows])
        found = prior[:, None] * self._shares  # (B, C)
        first, length = self._bounds[sources], self._bounds[sources + 1] - self._bounds[sources]
        owner = rows.repeat_interleave(length)
        start = (length.cumsum(0) - length).repeat_interleave(length)
        entry = first.repeat_interleave(length) + torch.arange(len(owner)) - start
        flat = owner * self._content + self._targets[entry]
        found.view(-1).index_add_(0, flat, self._values[entry] * share[owner])
        return found.logit(eps=1e-12).to(messages.device)


def _co_occurrences(
    corpus: PairCorpus, num_fixed: int, content: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Returns n(s) (V,), and the ascending keys s · C + t with n(s, t) of those above 0."""
    counts = np.zeros(num_fixed + content, dtype=np.int64)
    keys = np.zeros(0, dtype=np.int64)
    times = np.zeros(0, dtype=np.int64)
    for start in range(0, len(corpus), _CHUNK):
        parts = []
        for i in range(start, min(start + _CHUNK, len(corpus))):
            said = np.unique(corpus.message(i)).astype(np.int64)
            answered = np.unique(corpus.response(i)).astype(np.int64)
            counts[said] += 1
            parts.append(
                (said[:, None] * content + answered[answered >= num_fixed] - num_fixed).ravel()
            )
        new, number = np.unique(np.concatenate(parts), return_counts=True)
        keys, place = np.unique(np.concatenate([keys, new]), return_inverse=True)
        joined = np.concatenate([times, number])
        times = np.bincount(place, weights=joined, minlength=len(keys)).astype(np.int64)
    return counts, keys, times


def _is_first(words: Tensor) -> Tensor:
    """Returns (B, S) bool: no earlier place of the row holds the same word."""
    same = words[:, :, None] == words[:, None, :]  # (B, S, S)
    return ~same.tril(-1).any(-1)
