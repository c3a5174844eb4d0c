"""Cross-entropy under M vocabularies an example, at about the cost of one.

The M vocabularies share the logits, and they share the exponentials: with
``e = exp(z - max z)`` all M partition sums are one batched product ``e · membershipᵀ``, and
the backward pass needs one product for all of them too. The chunked form keeps no logits: it
makes them twice, a part of the vocabulary at a time.
"""

from typing import Any

import torch
from torch import Tensor

from dvs2s.ops.partition import (
    chunks,
    gradients,
    make_logits,
    masked_logits,
    weak_rows,
    without_broken,
)

# Words whose gradient is made at a time where the exponentials were kept: products of this width
# run at full speed, and what lies between them stays small.
_GRADIENT_WORDS = 4096

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
    weight, bias = without_broken(weight, bias, membership)
    logits = make_logits(hidden, weight, bias)  # (B, R, V)
    gold = logits.gather(-1, targets[..., None])  # (B, R, 1)
    peak = logits.amax(-1, keepdim=True)  # (B, R, 1)
    exps = logits.sub_(peak).exp_()  # (B, R, V), takes the logits' memory
    sums = torch.bmm(exps, membership.to(exps.dtype).transpose(1, 2))  # (B, R, M)
    normaliser = sums.log() + peak  # (B, R, M)
    weak = weak_rows(sums)
    if weak[0].numel():
        normaliser[weak] = masked_logits(hidden, weight, bias, membership, weak).logsumexp(-1)
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
    return gradients(
        grad,
        (hidden, weight, bias, membership, targets),
        (sums, normaliser),
        chunk=_GRADIENT_WORDS,
        exps_of=lambda part, w, b: exps[..., part],
    )


def forward_chunked(
    hidden: Tensor, weight: Tensor, bias: Tensor, membership: Tensor, targets: Tensor, chunk: int
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Returns losses (B, M, R), peak (B, R, 1), sums and normalisers (B, R, M)."""
    weight, bias = without_broken(weight, bias, membership)
    total = torch.promote_types(hidden.dtype, torch.float32)
    shape = hidden.shape[:2]
    peak = hidden.new_full((*shape, 1), float("-inf"), dtype=total)
    sums = hidden.new_zeros((*shape, membership.shape[1]), dtype=total)
    gold = hidden.new_zeros((*shape, 1), dtype=total)
    for part in chunks(weight, chunk):
        logits = make_logits(hidden, weight[part], bias[part])  # (B, R, c)
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
    weak = weak_rows(sums)
    if weak[0].numel():
        normaliser[weak] = masked_logits(hidden, weight, bias, membership, weak).logsumexp(-1)
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
    return gradients(
        grad,
        (hidden, weight, bias, membership, targets),
        (sums, normaliser),
        chunk=chunk,
        exps_of=lambda part, w, b: make_logits(hidden, w[part], b[part]).sub_(peak).exp_(),
    )


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
