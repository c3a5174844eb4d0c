"""The topic of a message, and the words that go with it."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class TopicWords:
    """The words of each message's topic.

    Args:
        words: (B, N) int64, different words of the full vocabulary.
        vectors: (B, N, Z) float, each word's distribution over topics, p(z | w).
    """

    words: Tensor
    vectors: Tensor


class Topics(nn.Module):
    """What a topic model counted, kept as buffers: a checkpoint needs no topic model beside it.

    A message has one topic, as in Twitter-LDA, the one of argmax_z log p(z) + Σ_w log p(w | z) over
    its words. That is exact for one topic a message, a function of the message alone, and needs no
    sampling, so training, evaluation and serving agree on every message, known or not. A message
    without a word that was counted has the most frequent topic.

    Args:
        vocabulary_size: V.
        num_topics: Z, at least 1.
        num_words: N, words a topic, at least 1.

    Source: Xing et al. 2017, section "Topic words acquisition"; Zhao et al. 2011 (Twitter-LDA).
    """

    counts: Tensor
    """(V, Z) float32, how often a word was said for a topic, smoothed; rows of 0 do not count."""
    words: Tensor
    """(Z, N) int64, the most probable words of each topic, by falling probability."""

    def __init__(self, vocabulary_size: int, num_topics: int, num_words: int) -> None:
        super().__init__()
        self.register_buffer("counts", torch.zeros(vocabulary_size, num_topics))
        self.register_buffer("words", torch.zeros(num_topics, num_words, dtype=torch.int64))

    def set_counts(self, counts: Tensor) -> None:
        """Takes the counts of a topic model, and from them each topic's words.

        Args:
            counts: (V, Z) float, above 0 for words that count, rows of 0 for the others.

        Raises:
            ValueError: another shape, a number out of range, or fewer words than a topic has.
        """
        num_words, possible = self.words.shape[1], (counts > 0).all(1)
        if counts.shape != self.counts.shape:
            raise ValueError(
                f"counts must be (V, Z) = {tuple(self.counts.shape)}, got {tuple(counts.shape)}"
            )
        if not bool(((counts > 0).any(1) == possible).all()) or not bool(counts.isfinite().all()):
            raise ValueError("counts must be finite, and above 0 or 0 in a whole row")
        if int(possible.sum()) < num_words:
            raise ValueError(
                f"counts has {int(possible.sum())} words for topics of {num_words}: set "
                f"model.topic_words or objective.topic_common lower"
            )
        self.counts.copy_(counts)
        ranked = self.counts.sort(
            dim=0, descending=True, stable=True
        ).indices  # of equal, the lower
        self.words.copy_(ranked[:num_words].T)

    @property
    def is_set(self) -> bool:
        """Whether there are counts."""
        return bool((self.counts > 0).any())

    def topic_of(self, messages: Tensor) -> Tensor:
        """Returns the topic (B,) int64 of messages (B, S) int64, padded with a word not counted."""
        # double, so that no padding of a batch can tip a topic
        totals = self.counts.sum(0, dtype=torch.float64)  # (Z,)
        said = self.counts[messages].double()  # (B, S, Z)
        evidence = torch.where(said > 0, said.log() - totals.log(), 0.0)
        return (totals.log() + evidence.sum(1)).argmax(1)

    def forward(self, messages: Tensor) -> TopicWords:
        """Returns the topic words of messages (B, S) int64."""
        words = self.words[self.topic_of(messages)]  # (B, N)
        counts = self.counts[words]
        return TopicWords(words, counts / counts.sum(-1, keepdim=True))
