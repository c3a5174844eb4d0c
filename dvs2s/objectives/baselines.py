"""Baselines that cut the variance of the score-function gradient without moving its mean."""

from typing import Literal

import torch
from torch import Tensor

from dvs2s.objectives.observer import Observer

BaselineKind = Literal["none", "running", "leave_one_out", "learned", "closed_form"]
KINDS: tuple[BaselineKind, ...] = ("none", "running", "leave_one_out", "learned", "closed_form")
GUESSED = ("learned", "closed_form")
"""Kinds that subtract a guess, made for each pair before T is drawn."""


class Baseline(Observer):
    """Turns the rewards of M sampled vocabularies into advantages.

    ``running`` is the paper's: a moving average of past rewards, here of the reward a word so
    that long responses do not look bad. ``leave_one_out`` takes, for each sample, the mean of the
    other M - 1: no state, and still independent of the sample that it is subtracted from.
    ``learned`` and ``closed_form`` subtract a guess for each pair: of a network that is trained by
    its own squared error (``reward_predictor``), or the value of (B2), which β alone fixes.

    Args:
        kind: one of ``KINDS``.
        momentum: of the moving average, 0 <= momentum < 1.

    Raises:
        ValueError: an unknown kind or a momentum out of range.

    Source: paper, joint training (baseline b_k); Kool et al. 2019 (leave-one-out).
    """

    def __init__(self, kind: BaselineKind, *, momentum: float = 0.95) -> None:
        super().__init__()
        if kind not in KINDS:
            raise ValueError(f"baseline must be one of {', '.join(KINDS)}, got {kind!r}")
        if not 0 <= momentum < 1:
            raise ValueError(f"momentum must be at least 0 and below 1, got {momentum}")
        self.kind, self.momentum = kind, momentum
        self.register_buffer("mean", torch.tensor(0.0))
        self.register_buffer("weight", torch.tensor(0.0))

    def forward(self, rewards: Tensor, lengths: Tensor, guess: Tensor | None = None) -> Tensor:
        """Returns the advantages (B, M), detached.

        Args:
            rewards: (B, M) float, log p(Y | X, T_m) in nats.
            lengths: (B,) int64, words of the responses.
            guess: (B,) float, nats, for the kinds in ``GUESSED``; the others do not look at it.

        Raises:
            ValueError: leave-one-out with a single sample, or a guess that is missing.
        """
        rewards = rewards.detach()
        if self.kind == "none":
            return rewards
        if self.kind in GUESSED:
            if guess is None:
                raise ValueError(f"baseline={self.kind} needs a guess for each pair, got None")
            return rewards - guess.detach()[:, None]
        if self.kind == "leave_one_out":
            others = rewards.shape[1] - 1
            if others < 1:
                raise ValueError("leave_one_out needs num_samples >= 2: use baseline=running")
            return rewards - (rewards.sum(1, keepdim=True) - rewards) / others
        advantages = rewards - self.value() * lengths[:, None]
        if self.training:  # after use: today's samples must not enter their own baseline
            words = lengths.sum()
            self.hear(rewards.mean(1).sum() / words, words)
        return advantages

    def value(self) -> Tensor:
        """Returns the running mean reward a word in nats, a scalar; 0 before the first update."""
        weight = self.get_buffer("weight")
        return self.get_buffer("mean") / weight.clamp_min(1e-8)

    def move(self, mean: Tensor) -> None:
        """Takes the mean reward a word of an update into the running mean."""
        running, weight = self.get_buffer("mean"), self.get_buffer("weight")
        running.lerp_(mean.to(running), 1 - self.momentum)
        weight.lerp_(torch.ones_like(weight), 1 - self.momentum)
