"""The multi-sample bound: the mean of M samples' probabilities inside of the logarithm.

    log p(Y|X)  >=  Σ_{w ∈ Y∩C} log β_w  +  E_{T_1..T_M ~ q} log 1/M Σ_m p(Y | T_m, X)

M = 1 is (B1); more samples make it tighter. q is the proposal and the posterior's own factor, so
the importance weights are the likelihoods themselves.
"""

import math

import torch
from torch import Tensor

from dvs2s.objectives.baselines import Baseline
from dvs2s.objectives.lower_bound import (
    Estimate,
    local_expectation_surrogate,
    log_weight_surrogate,
)


def estimate_multi_sample(
    losses: Tensor,
    mask: Tensor,
    *,
    logits: Tensor,
    membership: Tensor,
    gold: Tensor,
    baseline: Baseline,
    gains: Tensor | None = None,
    guess: Tensor | None = None,
) -> Estimate:
    """Returns the estimate of the multi-sample bound's second term from M samples.

    Args:
        losses: (B, M, T) float, -log p(y_l | y_<l, T_m, X).
        mask: (B, T) bool, True on words of the response.
        logits: (B, C) float, of β.
        membership: (B, M, V) bool, from ``sample_vocabularies``.
        gold: (B, V) bool.
        baseline: of the score function. ``leave_one_out`` puts the mean of the other samples'
            probabilities in a sample's place.
        gains: (B, M, V) float of ``ops.sample_gains``: β's gradient is then made of these, and
            not of the score function.
        guess: (B,) float, as ``Baseline`` takes it.

    Returns:
        ``value`` and ``surrogate`` as of (B1); ``rewards`` the samples' log p(Y | T_m, X).

    Source: Burda et al. 2016 (bound); Mnih and Rezende 2016 (leave-one-out, there with the
        geometric mean); docs/model.md.
    """
    rewards = -(losses * mask[:, None]).sum(-1)  # (B, M)
    samples = rewards.shape[1]
    value = rewards.logsumexp(1) - math.log(samples)  # (B,)
    fixed = rewards.detach()
    if gains is not None:
        worth = _worth(fixed, membership, gains)
        surrogate = local_expectation_surrogate(logits, worth, gold)
        return Estimate(value, surrogate, fixed)
    if baseline.kind == "leave_one_out":
        if samples < 2:
            raise ValueError("leave_one_out needs num_samples >= 2: use baseline=running")
        signal = value.detach()[:, None] - (_of_others(fixed) - math.log(samples - 1))
    else:
        signal = baseline(value[:, None], mask.sum(1), guess).expand(-1, samples)
    # every sample's score is multiplied by its signal and summed; the surrogate takes the mean
    surrogate = log_weight_surrogate(logits, membership, gold, signal * samples)
    return Estimate(value, surrogate, fixed)


def _of_others(rewards: Tensor) -> Tensor:
    """Returns (B, M): log Σ_{j ≠ m} exp R_j; -inf for a single sample."""
    samples = rewards.shape[1]
    own = torch.eye(samples, dtype=torch.bool, device=rewards.device)
    others = rewards[:, None].expand(-1, samples, -1).masked_fill(own, -torch.inf)
    return others.logsumexp(-1)


def _worth(rewards: Tensor, membership: Tensor, gains: Tensor) -> Tensor:
    """Returns (B, V): the bound with a word in T_m less without it, summed over the samples.

    A sample m has the share w of Σ exp R. Toggling a word takes R_m to R_m ± gain, and the bound
    by log(1 - w + w exp(± gain)).
    """
    total = rewards.logsumexp(1, keepdim=True)
    share = (rewards - total)[..., None]  # (B, M, 1), log w
    rest = (_of_others(rewards) - total)[..., None]  # log(1 - w)
    sign = torch.where(membership, -1.0, 1.0).to(gains.dtype)
    return (sign * torch.logaddexp(rest, share + sign * gains)).sum(1)
