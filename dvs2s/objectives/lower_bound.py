"""The Monte Carlo lower bound (B1) and its gradient estimator.

    log p(Y|X)  >=  Σ_{w ∈ Y∩C} log β_w  +  E_{T~q} log p(Y | T, X)

q is the product of Bernoullis with the words of Y fixed to 1: p(T | X, Y ⊂ T).
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from dvs2s.objectives.baselines import Baseline


def sample_vocabularies(logits: Tensor, gold: Tensor, num_samples: int) -> Tensor:
    """Returns M vocabularies an example, drawn exactly from q.

    Args:
        logits: (B, C) float, of β; word ``num_fixed + i`` at place i.
        gold: (B, V) bool, words of the response.
        num_samples: M.

    Returns:
        (B, M, V) bool: function words and gold words always True. Uses torch's global generator.

    Source: (B1), docs/model.md.
    """
    batch, content = logits.shape
    num_fixed = gold.shape[1] - content
    drawn = torch.rand(batch, num_samples, content, device=logits.device)
    membership = torch.ones(
        batch, num_samples, gold.shape[1], dtype=torch.bool, device=logits.device
    )
    membership[:, :, num_fixed:] = drawn < logits.detach().sigmoid()[:, None]
    return membership | gold[:, None]


def log_weight_surrogate(
    logits: Tensor, membership: Tensor, gold: Tensor, advantages: Tensor
) -> Tensor:
    """Returns (B,): its gradient is mean_m advantage_m · ∇ log q(T_m), the score function.

    Args:
        logits: (B, C) float, of β.
        membership: (B, M, V) bool, samples of q.
        gold: (B, V) bool; gold words are fixed in q and have no part in it.
        advantages: (B, M) float, detached.

    Source: log q(T) = Σ_{i ∈ C∖Y} t_i log β_i + (1 - t_i) log(1 - β_i) = Σ t_i a_i - softplus(a_i).
    """
    content = membership[:, :, -logits.shape[1] :]
    free = ~gold[:, -logits.shape[1] :]  # (B, C)
    weighted = torch.bmm(advantages[:, None], content.to(logits.dtype))[:, 0]  # (B, C)
    per_word = weighted * logits - advantages.sum(1, keepdim=True) * F.softplus(logits)
    return (per_word * free).sum(1) / membership.shape[1]


def local_expectation_surrogate(logits: Tensor, gains: Tensor, gold: Tensor) -> Tensor:
    """Returns (B,): its gradient is that of E_q log p(Y | T), one word's Bernoulli summed out.

    d/dβ_i E[R] = E over the other words of R(T ∪ i) - R(T ∖ i): no reward multiplies a score, so
    a word's gradient does not carry the noise of all other words.

    Args:
        logits: (B, C) float, of β.
        gains: (B, V) float, detached, R(T ∪ i) - R(T ∖ i) (``ops.inclusion_gains``).
        gold: (B, V) bool; gold words are fixed in q and have no part in it.

    Source: Titsias and Lázaro-Gredilla 2015, local expectation gradients; docs/model.md.
    """
    free = ~gold[:, -logits.shape[1] :]  # (B, C)
    return (logits.sigmoid() * gains[:, -logits.shape[1] :] * free).sum(1)


@dataclass(frozen=True)
class Estimate:
    """One estimate of the second term of (B1).

    Args:
        value: (B,) mean over the samples of log p(Y | T_m, X), nats; its gradient is the
            decoder's and encoder's.
        surrogate: (B,) its gradient is that of β; its value means nothing.
        rewards: (B, M) detached log p(Y | T_m, X).
    """

    value: Tensor
    surrogate: Tensor
    rewards: Tensor


def estimate(
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
    """Returns the estimate of E_q log p(Y | T, X) from M samples.

    Args:
        losses: (B, M, T) float, -log p(y_l | y_<l, T_m, X).
        mask: (B, T) bool, True on words of the response.
        logits: (B, C) float, of β.
        membership: (B, M, V) bool, from ``sample_vocabularies``.
        gold: (B, V) bool.
        baseline: turns rewards into advantages.
        gains: (B, V) float of ``ops.inclusion_gains``: β's gradient is then made of these, and
            not of the score function.
        guess: (B,) float, as ``Baseline`` takes it.

    Source: (B1), docs/model.md; paper, joint training.
    """
    rewards = -(losses * mask[:, None]).sum(-1)  # (B, M)
    if gains is not None:
        surrogate = local_expectation_surrogate(logits, gains, gold)
        return Estimate(rewards.mean(1), surrogate, rewards.detach())
    advantages = baseline(rewards, mask.sum(1), guess)
    surrogate = log_weight_surrogate(logits, membership, gold, advantages)
    return Estimate(rewards.mean(1), surrogate, rewards.detach())
