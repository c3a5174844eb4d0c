"""Cross-entropy under M vocabularies an example, at about the cost of one.

The M vocabularies share the logits, and they share the exponentials: with
``e = exp(z - max z)`` all M partition sums are one batched product ``e · membershipᵀ``, and
the backward pass needs one product for all of them too.
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

# exp underflows in float32 at about 1e-38; a partition sum below this has lost its digits, so
# its row is computed again with a maximum of its own.
_UNDERFLOW = 1e-25


def monte_carlo_cross_entropy(
    hidden: Tensor, weight: Tensor, bias: Tensor, membership: Tensor, targets: Tensor
) -> Tensor:
    """Returns ``-log p(target | vocabulary)`` for each of M vocabularies an example.

    Args:
        hidden: (B, R, H) float32 or float64; the R rows of an example share its vocabularies.
        weight: (V, H), one row a word.
        bias: (V,).
        membership: (B, M, V) bool, True where a word is in the vocabulary. A target that is not
            in a vocabulary may get a probability above one there: keep the targets in.
        targets: (B, R) int64 words in 0..V-1.

    Returns:
        (B, M, R), nats; differentiable once in hidden, weight and bias.

    Raises:
        ValueError: shapes that do not fit.

    Source: the bound (B1) of docs/model.md; p(y_l | T) = exp s_l(y_l) / Σ_{i∈T} exp s_l(i).
    """
    rows, words = hidden.shape[:2], weight.shape[0]
    if membership.dim() != 3 or membership.shape[0] != rows[0] or membership.shape[2] != words:
        raise ValueError(
            f"membership must be (B, M, V) = ({rows[0]}, M, {words}), got {tuple(membership.shape)}"
        )
    if targets.shape != rows:
        raise ValueError(f"targets must be (B, R) = {tuple(rows)}, got {tuple(targets.shape)}")
    losses: Tensor = _MonteCarlo.apply(hidden, weight, bias, membership, targets)  # type: ignore[no-untyped-call]
    return losses


class _MonteCarlo(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, weight: Tensor, bias: Tensor, membership: Tensor, targets: Tensor
    ) -> Tensor:
        logits = torch.matmul(hidden, weight.T).add_(bias)  # (B, R, V)
        gold = logits.gather(-1, targets[..., None])  # (B, R, 1)
        peak = logits.amax(-1, keepdim=True)  # (B, R, 1)
        exps = logits.sub_(peak).exp_()  # (B, R, V), takes the logits' memory
        sums = torch.bmm(exps, membership.to(exps.dtype).transpose(1, 2))  # (B, R, M)
        normaliser = sums.log() + peak  # (B, R, M)
        weak = (sums < _UNDERFLOW).any(-1).nonzero(as_tuple=True)  # rows (b, r) to do again
        if weak[0].numel():
            normaliser[weak] = _masked(hidden, weight, bias, membership, weak).logsumexp(-1)
        ctx.save_for_backward(
            hidden, weight, bias, membership, targets, exps, sums, normaliser, *weak
        )
        return (normaliser - gold).transpose(1, 2).contiguous()  # (B, M, R)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        hidden, weight, bias, membership, targets, exps, sums, normaliser, *weak = ctx.saved_tensors
        grad = grads[0].transpose(1, 2)  # (B, R, M)
        # d loss_m / d z_i = p_m(i) - [i = target]; p_m = exps · membership_m / sums_m
        scaled = torch.where(sums < _UNDERFLOW, torch.zeros_like(sums), grad / sums)
        d_logits = torch.bmm(scaled, membership.to(exps.dtype)).mul_(exps)  # (B, R, V)
        if weak[0].numel():
            rows = _masked(hidden, weight, bias, membership, tuple(weak))  # (N, M, V)
            shares = (rows - normaliser[tuple(weak)][..., None]).exp()
            d_logits[tuple(weak)] = (shares * grad[tuple(weak)][..., None]).sum(1)
        d_logits.scatter_add_(-1, targets[..., None], -grad.sum(-1, keepdim=True))
        flat = d_logits.flatten(0, 1)  # (B·R, V)
        d_hidden = torch.matmul(d_logits, weight) if ctx.needs_input_grad[0] else None
        d_weight = flat.T @ hidden.flatten(0, 1) if ctx.needs_input_grad[1] else None
        d_bias = flat.sum(0) if ctx.needs_input_grad[2] else None
        return d_hidden, d_weight, d_bias, None, None


def _masked(
    hidden: Tensor, weight: Tensor, bias: Tensor, membership: Tensor, at: tuple[Tensor, ...]
) -> Tensor:
    """Returns the logits (N, M, V) of N rows, ``-inf`` outside each vocabulary."""
    logits = hidden[at] @ weight.T + bias  # (N, V)
    return logits[:, None].masked_fill(~membership[at[0]], float("-inf"))
