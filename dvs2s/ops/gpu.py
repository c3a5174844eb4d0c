"""The operators' CUDA kernels: from the names of ``library.py`` to the compiled ones.

The compiled library brings ``torch.ops.dvs2s_gpu``; what a kernel does not take (float64, more than
64 best words, a gradient of the log-normaliser) goes to the reference, which runs on a GPU too.
None waits for the device but ``select``, whose width is read back once.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from dvs2s.ops import library, monte_carlo, reference

MOST_BEST = 64
MOST_SAMPLES = 64


def kernels() -> Any:
    """Returns the compiled kernels."""
    return torch.ops.dvs2s_gpu


def sparse_logits(
    hidden: Tensor,
    weight: Tensor,
    bias: Tensor,
    ids: Tensor,
    lengths: Tensor,
    scales: Tensor | None,
    route: int,
) -> tuple[Tensor, Tensor]:
    """As ``library.sparse_logits``; int8 rows are widened, hidden is not quantised."""
    if hidden.dtype == torch.float64:
        return reference.sparse_logits(hidden, weight, bias, ids, lengths, scales)
    logits, lse = kernels().sparse_logits_lse(hidden, weight, bias, ids, lengths, scales)
    return logits, lse


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
    """As ``library.sparse_topk``."""
    if hidden.dtype == torch.float64 or k > MOST_BEST:
        return reference.sparse_topk(hidden, weight, bias, ids, lengths, scales, k=k)
    scores, slots, lse = kernels().sparse_topk(hidden, weight, bias, ids, lengths, scales, k)
    return scores, slots, lse


def sparse_cross_entropy(
    hidden: Tensor,
    weight: Tensor,
    bias: Tensor,
    ids: Tensor,
    lengths: Tensor,
    targets: Tensor,
    route: int,
) -> tuple[Tensor, Tensor]:
    """As ``library.sparse_cross_entropy``; no logits are written."""
    operands = (hidden, weight, bias, ids, lengths, targets)
    if hidden.dtype == torch.float64:
        return library.sparse_cross_entropy(*operands, route)
    losses, lse = kernels().sparse_cross_entropy_forward(*operands)
    return losses, lse


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
    """As ``library.sparse_cross_entropy_backward``; in a fixed order when torch asks for it."""
    operands = (hidden, weight, bias, ids, lengths, targets, lse)
    if hidden.dtype == torch.float64 or grad_lse is not None:
        return library.sparse_cross_entropy_backward(grad_loss, grad_lse, *operands, route)
    ordered = torch.are_deterministic_algorithms_enabled()
    d_hidden, d_weight, d_bias = kernels().sparse_cross_entropy_backward(
        grad_loss, *operands, ordered
    )
    return d_hidden.to(hidden.dtype), d_weight.to(weight.dtype), d_bias


def monte_carlo_forward(
    hidden: Tensor, weight: Tensor, bias: Tensor, membership: Tensor, targets: Tensor, chunk: int
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """As ``monte_carlo.forward_chunked``, the logits in shared memory only; ``chunk`` says nothing.

    Peak and sums are not kept: the log-normalisers are all that the backward pass needs.
    """
    samples = membership.shape[1]
    if hidden.dtype == torch.float64 or samples > MOST_SAMPLES:
        return monte_carlo.forward_chunked(hidden, weight, bias, membership, targets, chunk)
    lse = kernels().monte_carlo_lse(hidden, weight, bias, pack(membership), samples)  # (B, R, M)
    gold = (hidden.float() * weight[targets].float()).sum(-1) + bias[targets].float()  # (B, R)
    losses = (lse - gold[..., None]).transpose(1, 2).contiguous()
    return losses, torch.zeros_like(lse[..., :1]), torch.ones_like(lse), lse


def monte_carlo_backward(
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
    """As ``monte_carlo.backward_chunked``."""
    samples = membership.shape[1]
    if hidden.dtype == torch.float64 or samples > MOST_SAMPLES:
        return monte_carlo.backward_chunked(
            grad, hidden, weight, bias, membership, targets, peak, sums, normaliser, chunk
        )
    upstream = grad.transpose(1, 2).float().contiguous()
    d_hidden, d_weight, d_bias = kernels().monte_carlo_backward(
        upstream, hidden, weight, bias, pack(membership), normaliser, targets, samples
    )
    return d_hidden.to(hidden.dtype), d_weight.to(weight.dtype), d_bias.to(bias.dtype)


def select(scores: Tensor, include: Tensor, num_fixed: int, size: int) -> tuple[Tensor, Tensor]:
    """As ``reference.select``."""
    ids, lengths = kernels().select_topm(scores.float(), num_fixed, size, include)
    width = int(lengths.max()) if len(lengths) else 0
    return ids[:, :width].contiguous(), lengths


def pack(membership: Tensor) -> Tensor:
    """Returns (B, M, ceil(V / 32)) int32, bit v % 32 of word v // 32 for word v.

    Args:
        membership: (B, M, V) bool.
    """
    batch, samples, words = membership.shape
    padded = torch.nn.functional.pad(membership, (0, -words % 32))
    bits = padded.view(batch, samples, -1, 32).long()
    places = torch.arange(32, device=membership.device)
    packed = (bits << places).sum(-1)  # 0 .. 2^32 - 1
    return torch.where(packed >= 2**31, packed - 2**32, packed).int()


def register() -> None:
    """Registers the kernels for CUDA; called once, when the compiled library has brought them."""
    served: dict[str, Callable[..., object]] = {
        "sparse_logits": sparse_logits,
        "sparse_topk": sparse_topk,
        "sparse_cross_entropy": sparse_cross_entropy,
        "sparse_cross_entropy_backward": sparse_cross_entropy_backward,
        "monte_carlo_chunked": monte_carlo_forward,
        "monte_carlo_chunked_backward": monte_carlo_backward,
        "select": select,
    }
    for name, kernel in served.items():
        torch.library.impl(f"dvs2s::{name}", "cuda", kernel)
