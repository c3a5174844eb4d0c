"""Cross-entropy under M vocabularies an example, at about the cost of one.

The M vocabularies share the logits, and they share the exponentials: with
``e = exp(z - max z)`` all M partition sums are one batched product ``e · membershipᵀ``, and
the backward pass needs one product for all of them too. The chunked form keeps no logits: it
makes them twice, a part of the vocabulary at a time.
"""

from typing import Any

import torch
from torch import Tensor

# exp underflows in float32 at about 1e-38; a partition sum below this has lost its digits, so
# its row is computed again with a maximum of its own.
_UNDERFLOW = 1e-25

_SCHEMAS = {
    "monte_carlo": "(Tensor hidden, Tensor weight, Tensor bias, Tensor membership, Tensor targets)"
    " -> (Tensor, Tensor, Tensor, Tensor)",
    "monte_carlo_backward": "(Tensor grad, Tensor hidden, Tensor weight, Tensor bias,"
    " Tensor membership, Tensor targets, Tensor exps, Tensor sums, Tensor normaliser)"
    " -> (Tensor, Tensor, Tensor)",
    "monte_carlo_chunked": "(Tensor hidden, Tensor weight, Tensor bias, Tensor membership,"
    " Tensor targets, int chunk) -> (Tensor, Tensor, Tensor, Tensor)",
    "monte_carlo_chunked_backward": "(Tensor grad, Tensor hidden, Tensor weight, Tensor bias,"
    " Tensor membership, Tensor targets, Tensor peak, Tensor sums, Tensor normaliser, int chunk)"
    " -> (Tensor, Tensor, Tensor)",
}


def monte_carlo_cross_entropy(
    hidden: Tensor,
    weight: Tensor,
    bias: Tensor,
    membership: Tensor,
    targets: Tensor,
    *,
    chunk: int = 0,
) -> Tensor:
    """Returns ``-log p(target | vocabulary)`` for each of M vocabularies an example.

    Args:
        hidden: (B, R, H) float; the R rows of an example share its vocabularies.
        weight: (V, H) of hidden's type, one row a word.
        bias: (V,) of hidden's type.
        membership: (B, M, V) bool, True where a word is in the vocabulary. A target that is not
            in a vocabulary may get a probability above one there: keep the targets in.
        targets: (B, R) int64 words in 0..V-1.
        chunk: 0 keeps the (B, R, V) exponentials for the backward pass; above 0, that many words
            are worked on at a time and nothing of that size is ever made: less memory, a little
            more time. The values agree up to rounding.

    Returns:
        (B, M, R), nats, float32 or float64; differentiable once in hidden, weight and bias.

    Raises:
        ValueError: shapes or types that do not fit.

    Source: the bound (B1) of docs/model.md; p(y_l | T) = exp s_l(y_l) / Σ_{i∈T} exp s_l(i).
    """
    rows, words = hidden.shape[:2], weight.shape[0]
    if membership.dim() != 3 or membership.shape[0] != rows[0] or membership.shape[2] != words:
        raise ValueError(
            f"membership must be (B, M, V) = ({rows[0]}, M, {words}), got {tuple(membership.shape)}"
        )
    if targets.shape != rows:
        raise ValueError(f"targets must be (B, R) = {tuple(rows)}, got {tuple(targets.shape)}")
    if not hidden.dtype == weight.dtype == bias.dtype:
        raise ValueError(
            f"hidden, weight and bias must have one type, got {hidden.dtype}, {weight.dtype} and "
            f"{bias.dtype}: convert two"
        )
    if chunk < 0:
        raise ValueError(f"chunk must be at least 0, got {chunk}: 0 works on all words at once")
    losses: Tensor
    if chunk:
        losses, *_ = torch.ops.dvs2s.monte_carlo_chunked(
            hidden, weight, bias, membership, targets, chunk
        )
    else:
        losses, *_ = torch.ops.dvs2s.monte_carlo(hidden, weight, bias, membership, targets)
    return losses


def forward(
    hidden: Tensor, weight: Tensor, bias: Tensor, membership: Tensor, targets: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Returns losses (B, M, R), exponentials (B, R, V), sums and normalisers (B, R, M)."""
    weight, bias = _without_broken(weight, bias, membership)
    logits = _logits(hidden, weight, bias)  # (B, R, V)
    gold = logits.gather(-1, targets[..., None])  # (B, R, 1)
    peak = logits.amax(-1, keepdim=True)  # (B, R, 1)
    exps = logits.sub_(peak).exp_()  # (B, R, V), takes the logits' memory
    sums = torch.bmm(exps, membership.to(exps.dtype).transpose(1, 2))  # (B, R, M)
    normaliser = sums.log() + peak  # (B, R, M)
    weak = _weak(sums)
    if weak[0].numel():
        normaliser[weak] = _masked(hidden, weight, bias, membership, weak).logsumexp(-1)
    return (normaliser - gold).transpose(1, 2).contiguous(), exps, sums, normaliser


def backward(
    grad: Tensor,
    hidden: Tensor,
    weight: Tensor,
    bias: Tensor,
    membership: Tensor,
    targets: Tensor,
    exps: Tensor,
    sums: Tensor,
    normaliser: Tensor,
) -> tuple[Tensor, Tensor, Tensor]:
    """Returns the gradients in hidden, weight and bias; grad is (B, M, R)."""
    weight, bias = _without_broken(weight, bias, membership)
    grad = grad.transpose(1, 2)  # (B, R, M)
    # d loss_m / d z_i = p_m(i) - [i = target]; p_m = exps · membership_m / sums_m
    scaled = torch.where(sums < _UNDERFLOW, torch.zeros_like(sums), grad / sums)
    d_logits = torch.bmm(scaled, membership.to(exps.dtype)).mul_(exps)  # (B, R, V)
    weak = _weak(sums)
    if weak[0].numel():
        d_logits[weak] = _weak_gradient(grad, hidden, weight, bias, membership, normaliser, weak)
    d_logits.scatter_add_(-1, targets[..., None], -grad.sum(-1, keepdim=True))
    flat = d_logits.flatten(0, 1).to(hidden.dtype)  # (B·R, V)
    d_hidden = (flat @ weight).view(hidden.shape)
    return d_hidden, flat.T @ hidden.flatten(0, 1), flat.sum(0)


def forward_chunked(
    hidden: Tensor, weight: Tensor, bias: Tensor, membership: Tensor, targets: Tensor, chunk: int
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Returns losses (B, M, R), peak (B, R, 1), sums and normalisers (B, R, M)."""
    weight, bias = _without_broken(weight, bias, membership)
    total = torch.promote_types(hidden.dtype, torch.float32)
    shape = hidden.shape[:2]
    peak = hidden.new_full((*shape, 1), float("-inf"), dtype=total)
    sums = hidden.new_zeros((*shape, membership.shape[1]), dtype=total)
    gold = hidden.new_zeros((*shape, 1), dtype=total)
    for part in _chunks(weight, chunk):
        logits = _logits(hidden, weight[part], bias[part])  # (B, R, c)
        place = targets[..., None] - part.start
        here = (place >= 0) & (place < logits.shape[-1])
        gold = torch.where(here, logits.gather(-1, place.clamp(0, logits.shape[-1] - 1)), gold)
        higher = torch.maximum(peak, logits.amax(-1, keepdim=True))
        # nothing but -inf so far: any finite reference leaves the sums 0
        higher = higher.masked_fill(higher == float("-inf"), 0)
        sums.mul_((peak - higher).exp())
        exps = logits.sub_(higher).exp_()
        sums.add_(torch.bmm(exps, membership[:, :, part].to(total).transpose(1, 2)))
        peak = higher
    normaliser = sums.log() + peak
    weak = _weak(sums)
    if weak[0].numel():
        normaliser[weak] = _masked(hidden, weight, bias, membership, weak).logsumexp(-1)
    return (normaliser - gold).transpose(1, 2).contiguous(), peak, sums, normaliser


def backward_chunked(
    grad: Tensor,
    hidden: Tensor,
    weight: Tensor,
    bias: Tensor,
    membership: Tensor,
    targets: Tensor,
    peak: Tensor,
    sums: Tensor,
    normaliser: Tensor,
    chunk: int,
) -> tuple[Tensor, Tensor, Tensor]:
    """Returns the gradients in hidden, weight and bias; the logits are made again."""
    weight, bias = _without_broken(weight, bias, membership)
    grad = grad.transpose(1, 2)  # (B, R, M)
    scaled = torch.where(sums < _UNDERFLOW, torch.zeros_like(sums), grad / sums)
    weak, minus = _weak(sums), -grad.sum(-1, keepdim=True)
    d_hidden = torch.zeros_like(hidden, dtype=sums.dtype).flatten(0, 1)
    d_weight, d_bias = torch.empty_like(weight), torch.empty_like(bias)
    lines = hidden.flatten(0, 1)
    of_weak = None
    if weak[0].numel():
        of_weak = _weak_gradient(grad, hidden, weight, bias, membership, normaliser, weak)
    for part in _chunks(weight, chunk):
        d_logits = _logits(hidden, weight[part], bias[part]).sub_(peak).exp_()
        d_logits.mul_(torch.bmm(scaled, membership[:, :, part].to(sums.dtype)))  # (B, R, c)
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


def _without_broken(weight: Tensor, bias: Tensor, membership: Tensor) -> tuple[Tensor, Tensor]:
    """Returns both such that a row with NaN or inf which no vocabulary holds does not matter.

    All words' logits are made, and 0 times NaN is NaN. One that a vocabulary holds stays visible.
    """
    broken = ~weight.sum(1).isfinite() | bias.isnan() | (bias == float("inf"))  # (V,)
    if not bool(broken.any()):
        return weight, bias
    out = broken & ~membership.any(1).any(0)
    return weight.masked_fill(out[:, None], 0), bias.masked_fill(out, float("-inf"))


def _logits(hidden: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    total = torch.promote_types(hidden.dtype, torch.float32)
    return torch.matmul(hidden, weight.T).to(total).add_(bias)


def _chunks(weight: Tensor, chunk: int) -> list[slice]:
    words = weight.shape[0]
    return [slice(i, min(i + chunk, words)) for i in range(0, words, chunk)]


def _weak(sums: Tensor) -> tuple[Tensor, ...]:
    """Returns the rows (b, r) whose digits are lost, to do again."""
    return (sums < _UNDERFLOW).any(-1).nonzero(as_tuple=True)


def _masked(
    hidden: Tensor, weight: Tensor, bias: Tensor, membership: Tensor, at: tuple[Tensor, ...]
) -> Tensor:
    """Returns the logits (N, M, V) of N rows, ``-inf`` outside each vocabulary."""
    logits = _logits(hidden[at], weight, bias)  # (N, V)
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
    rows = _masked(hidden, weight, bias, membership, weak)  # (N, M, V)
    shares = (rows - normaliser[weak][..., None]).exp()
    return (shares * grad[weak][..., None]).sum(1)


def _fake_losses(hidden: Tensor, membership: Tensor) -> tuple[Tensor, Tensor, torch.dtype]:
    total = torch.promote_types(hidden.dtype, torch.float32)
    batch, rows, samples = hidden.shape[0], hidden.shape[1], membership.shape[1]
    losses = hidden.new_empty(batch, samples, rows, dtype=total)
    return losses, hidden.new_empty(batch, rows, samples, dtype=total), total


def _fake_forward(hidden, weight, bias, membership, targets):  # type: ignore[no-untyped-def]
    losses, sums, total = _fake_losses(hidden, membership)
    exps = hidden.new_empty(*hidden.shape[:2], weight.shape[0], dtype=total)
    return losses, exps, sums, torch.empty_like(sums)


def _fake_chunked(hidden, weight, bias, membership, targets, chunk):  # type: ignore[no-untyped-def]
    losses, sums, total = _fake_losses(hidden, membership)
    peak = hidden.new_empty(*hidden.shape[:2], 1, dtype=total)
    return losses, peak, sums, torch.empty_like(sums)


def _fake_gradients(grad, hidden, weight, bias, *rest):  # type: ignore[no-untyped-def]
    return (
        hidden.new_empty(hidden.shape),
        weight.new_empty(weight.shape),
        bias.new_empty(bias.shape),
    )


def _save(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    ctx.set_materialize_grads(False)  # the kept exponentials are as large as the logits
    ctx.save_for_backward(*inputs[:5], *output[1:])
    ctx.chunk = inputs[5] if len(inputs) > 5 else 0


def _gradient(ctx: Any, grad: Tensor | None, *_: Any) -> tuple[Any, ...]:
    after = (None, None, None) if ctx.chunk else (None, None)
    if grad is None:
        return (None, None, None, *after)
    if ctx.chunk:
        grads = torch.ops.dvs2s.monte_carlo_chunked_backward(grad, *ctx.saved_tensors, ctx.chunk)
    else:
        grads = torch.ops.dvs2s.monte_carlo_backward(grad, *ctx.saved_tensors)
    return (*grads, *after)


def register() -> None:
    """Registers the operators; called once, by ``dvs2s.ops``."""
    kernels: dict[str, tuple[Any, Any]] = {
        "monte_carlo": (forward, _fake_forward),
        "monte_carlo_backward": (backward, _fake_gradients),
        "monte_carlo_chunked": (forward_chunked, _fake_chunked),
        "monte_carlo_chunked_backward": (backward_chunked, _fake_gradients),
    }
    for name, schema in _SCHEMAS.items():
        kernel, fake = kernels[name]
        torch.library.define(f"dvs2s::{name}", schema)
        torch.library.impl(f"dvs2s::{name}", "CompositeExplicitAutograd", kernel)
        torch.library.register_fake(f"dvs2s::{name}", fake)
    for name in ("monte_carlo", "monte_carlo_chunked"):
        torch.library.register_autograd(f"dvs2s::{name}", _gradient, setup_context=_save)
