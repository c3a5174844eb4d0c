"""What both forms of the cross-entropy under M vocabularies share: logits, weak rows, gradients."""

from collections.abc import Callable

import torch
from torch import Tensor

# exp underflows in float32 at about 1e-38; a partition sum below this has lost its digits, so
# its row is computed again with a maximum of its own.
UNDERFLOW = 1e-25


def gradients(
    grad: Tensor,
    inputs: tuple[Tensor, ...],
    partition: tuple[Tensor, Tensor],
    *,
    chunk: int,
    exps_of: Callable[[slice, Tensor, Tensor], Tensor],
) -> tuple[Tensor, Tensor, Tensor]:
    """Returns the gradients, a part of the vocabulary at a time: no second (B, R, V) is made.

    Args:
        grad: (B, M, R).
        inputs: hidden, weight, bias, membership, targets.
        partition: sums and normalisers (B, R, M).
        chunk: words of a part.
        exps_of: returns the exponentials (B, R, c) of a part, given weight and bias.
    """
    hidden, weight, bias, membership, targets = inputs
    sums, normaliser = partition
    weight, bias = without_broken(weight, bias, membership)
    grad = grad.transpose(1, 2)  # (B, R, M)
    # d loss_m / d z_i = p_m(i) - [i = target]; p_m = exps · membership_m / sums_m
    scaled = torch.where(sums < UNDERFLOW, torch.zeros_like(sums), grad / sums)
    weak, minus = weak_rows(sums), -grad.sum(-1, keepdim=True)
    d_hidden = torch.zeros_like(hidden, dtype=sums.dtype).flatten(0, 1)
    d_weight, d_bias = torch.empty_like(weight), torch.empty_like(bias)
    lines, of_weak = hidden.flatten(0, 1), None
    if weak[0].numel():
        of_weak = _weak_gradient(grad, hidden, weight, bias, membership, normaliser, weak)
    for part in chunks(weight, chunk):
        d_logits = torch.bmm(scaled, membership[:, :, part].to(sums.dtype))  # (B, R, c)
        d_logits.mul_(exps_of(part, weight, bias))
        if of_weak is not None:
            d_logits[weak] = of_weak[:, part]
        place = targets[..., None] - part.start
        here = (place >= 0) & (place < d_logits.shape[-1])
        place = place.clamp(0, d_logits.shape[-1] - 1)
        d_logits.scatter_add_(-1, place, minus.masked_fill(~here, 0))
        flat = d_logits.flatten(0, 1).to(hidden.dtype)  # (B·R, c)
        d_hidden += flat @ weight[part]
        torch.mm(flat.T, lines, out=d_weight[part])
        d_bias[part] = flat.sum(0)
    return d_hidden.view(hidden.shape).to(hidden.dtype), d_weight, d_bias


def without_broken(weight: Tensor, bias: Tensor, membership: Tensor) -> tuple[Tensor, Tensor]:
    """Returns both such that a row with NaN or inf which no vocabulary holds does not matter.

    All words' logits are made, and 0 times NaN is NaN. One that a vocabulary holds stays visible.
    """
    broken = ~weight.sum(1).isfinite() | bias.isnan() | (bias == float("inf"))  # (V,)
    if not bool(broken.any()):
        return weight, bias
    out = broken & ~membership.any(1).any(0)
    return weight.masked_fill(out[:, None], 0), bias.masked_fill(out, float("-inf"))


def make_logits(hidden: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Returns every word's logits, float32 or float64."""
    total = torch.promote_types(hidden.dtype, torch.float32)
    return torch.matmul(hidden, weight.T).to(total).add_(bias)


def chunks(weight: Tensor, chunk: int) -> list[slice]:
    """Returns the parts of the vocabulary, of at most ``chunk`` words."""
    words = weight.shape[0]
    return [slice(i, min(i + chunk, words)) for i in range(0, words, chunk)]


def weak_rows(sums: Tensor) -> tuple[Tensor, ...]:
    """Returns the rows (b, r) whose digits are lost, to do again."""
    return (sums < UNDERFLOW).any(-1).nonzero(as_tuple=True)


def masked_logits(
    hidden: Tensor, weight: Tensor, bias: Tensor, membership: Tensor, at: tuple[Tensor, ...]
) -> Tensor:
    """Returns the logits (N, M, V) of N rows, ``-inf`` outside each vocabulary."""
    logits = make_logits(hidden[at], weight, bias)  # (N, V)
    return logits[:, None].masked_fill(~membership[at[0]], float("-inf"))


def _weak_gradient(
    grad: Tensor,
    hidden: Tensor,
    weight: Tensor,
    bias: Tensor,
    membership: Tensor,
    normaliser: Tensor,
    weak: tuple[Tensor, ...],
) -> Tensor:
    """Returns (N, V): Σ_m grad_m · p_m of the N weak rows, every softmax with its own maximum."""
    rows = masked_logits(hidden, weight, bias, membership, weak)  # (N, M, V)
    shares = (rows - normaliser[weak][..., None]).exp()
    return (shares * grad[weak][..., None]).sum(1)
