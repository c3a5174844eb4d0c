"""Cross-entropy whose normaliser weighs every word: M sets of weights at about the cost of one.

With weights of 0 and 1 it is ``monte_carlo_cross_entropy``. With the probabilities of words as
weights it is the closed-form bound, which needs gradients in the weights, too. The M sets share
the logits and the exponentials; the chunked form keeps neither.
"""

from typing import Any

import torch
from torch import Tensor

# As in ``monte_carlo``: a partition sum below this has lost its digits; its row is done again.
_UNDERFLOW = 1e-25

_ARGUMENTS = "Tensor hidden, Tensor weight, Tensor bias, Tensor log_weights, Tensor targets"
_SCHEMAS = {
    "weighted": f"({_ARGUMENTS}, int chunk) -> (Tensor, Tensor, Tensor, Tensor, Tensor)",
    "weighted_backward": f"(Tensor grad, {_ARGUMENTS}, Tensor peak, Tensor exps, Tensor sums,"
    " Tensor normaliser, int chunk) -> (Tensor, Tensor, Tensor, Tensor)",
}


def weighted_cross_entropy(
    hidden: Tensor,
    weight: Tensor,
    bias: Tensor,
    log_weights: Tensor,
    targets: Tensor,
    *,
    chunk: int = 0,
) -> Tensor:
    """Returns ``log Σ_i w_i exp s(i) - s(target)`` for each of M sets of weights an example.

    Args:
        hidden: (B, R, H) float; the R rows of an example share its weights.
        weight: (V, H) of hidden's type, one row a word.
        bias: (V,) of hidden's type.
        log_weights: (B, M, V) float, log w, at most 0; ``-inf`` leaves a word out. A target of
            weight below 1 may get a probability above one: give the targets 0.
        targets: (B, R) int64 words in 0..V-1.
        chunk: 0 keeps the (B, R, V) exponentials for the backward pass; above 0, that many words
            are worked on at a time and nothing of that size is ever made.

    Returns:
        (B, M, R), nats, float32 or float64; differentiable once in hidden, weight, bias and
        log_weights.

    Raises:
        ValueError: shapes or types that do not fit.

    Source: the bound (B2) of docs/model.md, with w = β.
    """
    rows, words = hidden.shape[:2], weight.shape[0]
    if log_weights.dim() != 3 or log_weights.shape[0] != rows[0] or log_weights.shape[2] != words:
        raise ValueError(
            f"log_weights must be (B, M, V) = ({rows[0]}, M, {words}), "
            f"got {tuple(log_weights.shape)}"
        )
    if not log_weights.is_floating_point():
        raise ValueError(
            f"log_weights must be float, got {log_weights.dtype}: a membership becomes "
            f"0 and -inf, or take monte_carlo_cross_entropy"
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
    losses, *_ = torch.ops.dvs2s.weighted(hidden, weight, bias, log_weights, targets, chunk)
    return losses


def forward(
    hidden: Tensor,
    weight: Tensor,
    bias: Tensor,
    log_weights: Tensor,
    targets: Tensor,
    chunk: int,
) -> tuple[Tensor, ...]:
    """Returns losses (B, M, R), peak (B, R, 1), exponentials, sums and normalisers (B, R, M).

    The exponentials are (B, R, V) without a chunk and empty with one.
    """
    total = torch.promote_types(hidden.dtype, torch.float32)
    peak = hidden.new_full((*hidden.shape[:2], 1), -torch.inf, dtype=total)
    sums = hidden.new_zeros((*hidden.shape[:2], log_weights.shape[1]), dtype=total)
    gold, exps = torch.zeros_like(peak), hidden.new_empty(0, dtype=total)
    for part in _parts(weight, chunk):
        logits = _logits(hidden, weight[part], bias[part], total)  # (B, R, c)
        here, place = _targets(targets, part)
        gold = torch.where(here, logits.gather(-1, place), gold)
        higher = torch.maximum(peak, logits.amax(-1, keepdim=True))
        higher = higher.masked_fill(higher == -torch.inf, 0)
        sums.mul_((peak - higher).exp())
        exps = logits.sub_(higher).exp_()  # takes the logits' memory
        sums.add_(torch.bmm(exps, log_weights[:, :, part].to(total).exp().transpose(1, 2)))
        peak = higher
    normaliser = sums.log() + peak
    weak = _weak(sums)
    if weak[0].numel():
        normaliser[weak] = _summands(hidden, weight, bias, log_weights, weak).logsumexp(-1)
    kept = exps if not chunk else exps.new_empty(0)
    return (normaliser - gold).transpose(1, 2).contiguous(), peak, kept, sums, normaliser


def backward(
    grad: Tensor,
    hidden: Tensor,
    weight: Tensor,
    bias: Tensor,
    log_weights: Tensor,
    targets: Tensor,
    peak: Tensor,
    exps: Tensor,
    sums: Tensor,
    normaliser: Tensor,
    chunk: int,
) -> tuple[Tensor, ...]:
    """Returns the gradients in hidden, weight, bias and log_weights; grad is (B, M, R)."""
    grad, lines = grad.transpose(1, 2), hidden.flatten(0, 1)  # (B, R, M), (B·R, H)
    # d loss_m / d s_i = share_m(i) - [i = target], d loss_m / d log w_i = share_m(i),
    # share_m(i) = w_m(i) · exps(i) / sums_m
    scaled = torch.where(sums < _UNDERFLOW, torch.zeros_like(sums), grad / sums)
    weak, minus = _weak(sums), -grad.sum(-1, keepdim=True)
    shares = None
    if weak[0].numel():
        summands = _summands(hidden, weight, bias, log_weights, weak)
        shares = (summands - normaliser[weak][..., None]).exp() * grad[weak][..., None]  # (N, M, V)
    d_hidden = torch.zeros_like(lines, dtype=sums.dtype)
    d_weight, d_bias = torch.empty_like(weight), torch.empty_like(bias)
    d_log_weights = torch.empty_like(log_weights)
    for part in _parts(weight, chunk):
        if chunk:
            exps = _logits(hidden, weight[part], bias[part], sums.dtype).sub_(peak).exp_()
        weights = log_weights[:, :, part].to(sums.dtype).exp()  # (B, M, c)
        into = torch.bmm(scaled.transpose(1, 2), exps).mul_(weights)  # (B, M, c)
        d_logits = torch.bmm(scaled, weights).mul_(exps)  # (B, R, c)
        if shares is not None:
            d_logits[weak] = shares[:, :, part].sum(1)
            into.index_add_(0, weak[0], shares[:, :, part])
        d_log_weights[:, :, part] = into
        here, place = _targets(targets, part)
        d_logits.scatter_add_(-1, place, minus.masked_fill(~here, 0))
        flat = d_logits.flatten(0, 1).to(hidden.dtype)  # (B·R, c)
        d_hidden += flat @ weight[part]
        torch.mm(flat.T, lines, out=d_weight[part])
        d_bias[part] = flat.sum(0)
    return d_hidden.view(hidden.shape).to(hidden.dtype), d_weight, d_bias, d_log_weights


def _logits(hidden: Tensor, weight: Tensor, bias: Tensor, total: torch.dtype) -> Tensor:
    return torch.matmul(hidden, weight.T).to(total).add_(bias)


def _parts(weight: Tensor, chunk: int) -> list[slice]:
    words = weight.shape[0]
    step = chunk or words
    return [slice(i, min(i + step, words)) for i in range(0, words, step)]


def _targets(targets: Tensor, part: slice) -> tuple[Tensor, Tensor]:
    """Returns (B, R, 1): whether a target is in this part of the vocabulary, and its place."""
    place, width = targets[..., None] - part.start, part.stop - part.start
    return (place >= 0) & (place < width), place.clamp(0, width - 1)


def _weak(sums: Tensor) -> tuple[Tensor, ...]:
    """Returns the rows (b, r) whose digits are lost, to do again."""
    return (sums < _UNDERFLOW).any(-1).nonzero(as_tuple=True)


def _summands(
    hidden: Tensor, weight: Tensor, bias: Tensor, log_weights: Tensor, at: tuple[Tensor, ...]
) -> Tensor:
    """Returns log(w_i exp s_i) of N rows, (N, M, V)."""
    total = torch.promote_types(hidden.dtype, torch.float32)
    logits = _logits(hidden[at], weight, bias, total)  # (N, V)
    return logits[:, None] + log_weights[at[0]].to(total)


def _fake_forward(hidden, weight, bias, log_weights, targets, chunk):  # type: ignore[no-untyped-def]
    total = torch.promote_types(hidden.dtype, torch.float32)
    batch, rows, samples = hidden.shape[0], hidden.shape[1], log_weights.shape[1]
    sums = hidden.new_empty(batch, rows, samples, dtype=total)
    exps = (0,) if chunk else (batch, rows, weight.shape[0])
    return (
        hidden.new_empty(batch, samples, rows, dtype=total),
        hidden.new_empty(batch, rows, 1, dtype=total),
        hidden.new_empty(exps, dtype=total),
        sums,
        torch.empty_like(sums),
    )


def _fake_backward(grad, hidden, weight, bias, log_weights, *rest):  # type: ignore[no-untyped-def]
    inputs = (hidden, weight, bias, log_weights)
    return tuple(tensor.new_empty(tensor.shape) for tensor in inputs)


def _save(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    ctx.set_materialize_grads(False)  # the kept exponentials are as large as the logits
    ctx.save_for_backward(*inputs[:5], *output[1:])
    ctx.chunk = inputs[5]


def _gradient(ctx: Any, grad: Tensor | None, *_: Any) -> tuple[Any, ...]:
    if grad is None:
        return (None,) * 6
    grads = torch.ops.dvs2s.weighted_backward(grad, *ctx.saved_tensors, ctx.chunk)
    return (*grads, None, None)


def register() -> None:
    """Registers the operators; called once, by ``dvs2s.ops``."""
    kernels: dict[str, tuple[Any, Any]] = {
        "weighted": (forward, _fake_forward),
        "weighted_backward": (backward, _fake_backward),
    }
    for name, schema in _SCHEMAS.items():
        kernel, fake = kernels[name]
        torch.library.define(f"dvs2s::{name}", schema)
        torch.library.impl(f"dvs2s::{name}", "CompositeExplicitAutograd", kernel)
        torch.library.register_fake(f"dvs2s::{name}", fake)
    torch.library.register_autograd("dvs2s::weighted", _gradient, setup_context=_save)
