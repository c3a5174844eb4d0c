"""The operators' names: schema, fake kernel, default kernel and gradient of each, registered once.

The default kernels are plain PyTorch. The compiled library adds kernels for its devices to the
same names, in whatever order the two are loaded.
"""

from typing import Any

import torch
from torch import Tensor

from dvs2s.ops import reference

ROUTES = {"gather": 0, "union": 1, "dense": 2}

_OPERANDS = "Tensor hidden, Tensor weight, Tensor bias, Tensor ids, Tensor lengths"
_SCHEMAS = {
    "sparse_logits": f"({_OPERANDS}, Tensor? scales, int route) -> (Tensor, Tensor)",
    "sparse_topk": f"({_OPERANDS}, Tensor? scales, int k, int route) -> (Tensor, Tensor, Tensor)",
    "sparse_backward": "(Tensor grad, Tensor hidden, Tensor weight, Tensor ids, Tensor lengths)"
    " -> (Tensor, Tensor, Tensor)",
    "sparse_cross_entropy": f"({_OPERANDS}, Tensor targets, int route) -> (Tensor, Tensor)",
    "sparse_cross_entropy_backward": "(Tensor grad_loss, Tensor? grad_lse, Tensor hidden,"
    " Tensor weight, Tensor bias, Tensor ids, Tensor lengths, Tensor targets, Tensor lse,"
    " int route) -> (Tensor, Tensor, Tensor)",
    "select": "(Tensor scores, Tensor include, int num_fixed, int size) -> (Tensor, Tensor)",
    "compact": "(Tensor membership) -> (Tensor, Tensor)",
}
# Logits of this many examples at once when they are made to be thrown away: about 16 MB.
_LOGITS_AT_ONCE = 4_000_000


def sparse_logits(
    hidden: Tensor,
    weight: Tensor,
    bias: Tensor,
    ids: Tensor,
    lengths: Tensor,
    scales: Tensor | None,
    route: int,
) -> tuple[Tensor, Tensor]:
    """The default kernel; a route is how fast kernels walk, and means nothing here."""
    return reference.sparse_logits(hidden, weight, bias, ids, lengths, scales)


def sparse_topk(
    hidden: Tensor,
    weight: Tensor,
    bias: Tensor,
    ids: Tensor,
    lengths: Tensor,
    scales: Tensor | None,
    k: int,
    route: int,
) -> tuple[Tensor, Tensor, Tensor]:
    """The default kernel."""
    return reference.sparse_topk(hidden, weight, bias, ids, lengths, scales, k=k)


def sparse_cross_entropy(
    hidden: Tensor,
    weight: Tensor,
    bias: Tensor,
    ids: Tensor,
    lengths: Tensor,
    targets: Tensor,
    route: int,
) -> tuple[Tensor, Tensor]:
    """Losses (B, R), 0 where the target slot is negative, and lse (B, R); no logits are kept."""
    losses, sums = [], []
    for part in _parts(hidden, ids):
        logits, lse = torch.ops.dvs2s.sparse_logits(
            hidden[part], weight, bias, ids[part], lengths[part], None, route
        )
        slots = targets[part]
        gold = logits.gather(-1, slots.clamp_min(0)[..., None])[..., 0]
        losses.append((lse - gold).masked_fill(slots < 0, 0))
        sums.append(lse)
    return torch.cat(losses), torch.cat(sums)


def sparse_cross_entropy_backward(
    grad_loss: Tensor,
    grad_lse: Tensor | None,
    hidden: Tensor,
    weight: Tensor,
    bias: Tensor,
    ids: Tensor,
    lengths: Tensor,
    targets: Tensor,
    lse: Tensor,
    route: int,
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients in hidden, weight and bias; the logits are computed again, a part at a time."""
    d_hidden: list[Tensor] = []
    d_weight = grad_loss.new_zeros(weight.shape)
    d_bias = grad_loss.new_zeros(weight.shape[0])
    for part in _parts(hidden, ids):
        logits, _ = torch.ops.dvs2s.sparse_logits(
            hidden[part], weight, bias, ids[part], lengths[part], None, route
        )
        slots = targets[part]
        of_loss = grad_loss[part].masked_fill(slots < 0, 0)
        of_shares = of_loss if grad_lse is None else of_loss + grad_lse[part]
        grad = _shares(logits, lse[part]) * of_shares[..., None]
        grad.scatter_add_(-1, slots.clamp_min(0)[..., None], -of_loss[..., None])
        one_hidden, one_weight, one_bias = torch.ops.dvs2s.sparse_backward(
            grad, hidden[part], weight, ids[part], lengths[part]
        )
        d_hidden.append(one_hidden)
        d_weight += one_weight
        d_bias += one_bias
    return torch.cat(d_hidden), d_weight.to(weight.dtype), d_bias


def _parts(hidden: Tensor, ids: Tensor) -> list[slice]:
    step = max(1, _LOGITS_AT_ONCE // max(1, hidden.shape[1] * ids.shape[1]))
    return [slice(i, i + step) for i in range(0, max(1, hidden.shape[0]), step)]


def _shares(logits: Tensor, lse: Tensor) -> Tensor:
    """Returns softmax; 0 at -inf, also where a whole row is."""
    return (logits - lse[..., None]).exp().masked_fill(logits == float("-inf"), 0)


def _total(hidden: Tensor) -> torch.dtype:
    return torch.promote_types(hidden.dtype, torch.float32)


def _fake_logits(hidden, weight, bias, ids, lengths, scales, route):  # type: ignore[no-untyped-def]
    rows = hidden.shape[:2]
    total = _total(hidden)
    return hidden.new_empty(*rows, ids.shape[1], dtype=total), hidden.new_empty(rows, dtype=total)


def _fake_topk(hidden, weight, bias, ids, lengths, scales, k, route):  # type: ignore[no-untyped-def]
    rows, total = hidden.shape[:2], _total(hidden)
    return (
        hidden.new_empty(*rows, k, dtype=total),
        hidden.new_empty(*rows, k, dtype=torch.int64),
        hidden.new_empty(rows, dtype=total),
    )


def _fake_backward(
    grad: Tensor, hidden: Tensor, weight: Tensor, ids: Tensor, lengths: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    return (
        torch.empty_like(hidden, memory_format=torch.contiguous_format),
        torch.empty_like(weight, memory_format=torch.contiguous_format),
        grad.new_empty(weight.shape[0]),
    )


def _fake_cross_entropy(hidden, weight, bias, ids, lengths, targets, route):  # type: ignore[no-untyped-def]
    empty = hidden.new_empty(hidden.shape[:2], dtype=_total(hidden))
    return empty, torch.empty_like(empty)


def _fake_cross_entropy_backward(  # type: ignore[no-untyped-def]
    grad_loss, grad_lse, hidden, weight, bias, ids, lengths, targets, lse, route
):
    return _fake_backward(grad_loss, hidden, weight, ids, lengths)


def _fake_ragged(*arguments: Any) -> tuple[Tensor, Tensor]:
    batch = arguments[0].shape[0]
    width = torch.library.get_ctx().new_dynamic_size()
    return (
        arguments[0].new_empty(batch, width, dtype=torch.int64),
        arguments[0].new_empty(batch, dtype=torch.int64),
    )


def _save_logits(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    hidden, weight, bias, ids, lengths, scales, _ = inputs
    if scales is not None and any(t.requires_grad for t in (hidden, bias)):
        raise RuntimeError("int8 weight is for inference: call it under torch.no_grad()")
    ctx.save_for_backward(hidden, weight, ids, lengths, *output)
    ctx.bias_dtype = bias.dtype


def _logits_gradient(ctx: Any, grad_logits: Tensor, grad_lse: Tensor) -> tuple[Any, ...]:
    hidden, weight, ids, lengths, logits, lse = ctx.saved_tensors
    grad = grad_logits + grad_lse[..., None] * _shares(logits, lse)
    grad = grad.masked_fill(logits == float("-inf"), 0)
    d_hidden, d_weight, d_bias = torch.ops.dvs2s.sparse_backward(grad, hidden, weight, ids, lengths)
    return d_hidden, d_weight, d_bias.to(ctx.bias_dtype), None, None, None, None


def _save_cross_entropy(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    ctx.set_materialize_grads(False)  # the log-normaliser seldom has a gradient
    ctx.save_for_backward(*inputs[:6], output[1])
    ctx.route = inputs[6]


def _cross_entropy_gradient(
    ctx: Any, grad_loss: Tensor | None, grad_lse: Tensor | None
) -> tuple[Any, ...]:
    bias, lse = ctx.saved_tensors[2], ctx.saved_tensors[6]
    grad_loss = torch.zeros_like(lse) if grad_loss is None else grad_loss
    d_hidden, d_weight, d_bias = torch.ops.dvs2s.sparse_cross_entropy_backward(
        grad_loss, grad_lse, *ctx.saved_tensors, ctx.route
    )
    return d_hidden, d_weight, d_bias.to(bias.dtype), None, None, None, None


def register() -> None:
    """Registers everything; called once, by ``dvs2s.ops``."""
    kernels: dict[str, tuple[Any, Any]] = {
        "sparse_logits": (sparse_logits, _fake_logits),
        "sparse_topk": (sparse_topk, _fake_topk),
        "sparse_backward": (reference.sparse_backward, _fake_backward),
        "sparse_cross_entropy": (sparse_cross_entropy, _fake_cross_entropy),
        "sparse_cross_entropy_backward": (
            sparse_cross_entropy_backward,
            _fake_cross_entropy_backward,
        ),
        "select": (reference.select, _fake_ragged),
        "compact": (reference.compact, _fake_ragged),
    }
    for name, schema in _SCHEMAS.items():
        kernel, fake = kernels[name]
        torch.library.define(f"dvs2s::{name}", schema)
        torch.library.impl(f"dvs2s::{name}", "CompositeExplicitAutograd", kernel)
        torch.library.register_fake(f"dvs2s::{name}", fake)
    torch.library.register_autograd(
        "dvs2s::sparse_logits", _logits_gradient, setup_context=_save_logits
    )
    torch.library.register_autograd(
        "dvs2s::sparse_cross_entropy", _cross_entropy_gradient, setup_context=_save_cross_entropy
    )
