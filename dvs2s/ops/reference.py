"""What the operators mean, in plain PyTorch: the specification, and the kernels of every device
that the compiled library does not serve.

Slots past an example's length are masked, never padded with a real word. Everything is summed in
float32, or in float64 for float64 input.
"""

import torch
from torch import Tensor


def sparse_logits(
    hidden: Tensor,
    weight: Tensor,
    bias: Tensor,
    ids: Tensor,
    lengths: Tensor,
    scales: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Returns the logits of an example's own words and the logarithm of their partition sum.

    Args:
        hidden: (B, R, H) float; the R rows of an example share its vocabulary.
        weight: (V, H) of hidden's type, one row a word; or int8 with ``scales``.
        bias: (V,) float.
        ids: (B, K) int words in 0..V-1 within a row's length.
        lengths: (B,) int, the number of slots in use.
        scales: (V,) float32, of int8 rows: row v is ``scales[v] * weight[v]``.

    Returns:
        logits (B, R, K), ``-inf`` past the length, and their logsumexp (B, R); float32, or float64
        for float64 input.

    Source: paper, decoder: p(y_l) = exp s_l(y_l) / Σ_{i∈T} exp s_l(i).
    """
    keep = torch.arange(ids.shape[1], device=ids.device)[None] < lengths[:, None]  # (B, K)
    words = ids.long().masked_fill(~keep, 0)
    total = torch.promote_types(hidden.dtype, torch.float32)
    if scales is None:
        rows = weight[words].to(total)  # (B, K, H)
        logits = torch.bmm(hidden.to(total), rows.transpose(1, 2))  # (B, R, K)
    else:
        quantised, size = quantise_rows(hidden)
        products = torch.bmm(quantised.double(), weight[words].double().transpose(1, 2))
        logits = products.float() * (scales[words][:, None] * size[..., None])
    logits = logits + bias[words].to(total)[:, None]
    logits = logits.masked_fill(~keep[:, None], float("-inf"))
    return logits, logits.logsumexp(-1)


def quantise_rows(values: Tensor) -> tuple[Tensor, Tensor]:
    """Returns (..., H) as int8 and one scale a row, ``values ≈ scale * int8``, symmetric.

    A row with a NaN or an infinity has a scale of NaN.

    Args:
        values: (..., H) float.
    """
    values = values.float()
    poison = (values * 0).sum(-1)  # (...,): NaN where a value is not finite
    largest = values.abs().amax(-1)
    most = torch.full_like(largest, 127.0)  # 127.0 / tensor would round twice
    inverse = torch.where(largest > 0, most / largest, torch.zeros_like(largest))
    scaled = values * inverse[..., None]
    quantised = scaled.where((poison == 0)[..., None], torch.zeros_like(scaled)).round()
    return quantised.to(torch.int8), largest / most + poison


def sparse_topk(
    hidden: Tensor,
    weight: Tensor,
    bias: Tensor,
    ids: Tensor,
    lengths: Tensor,
    scales: Tensor | None = None,
    *,
    k: int,
) -> tuple[Tensor, Tensor, Tensor]:
    """Returns the k best log-probabilities (B, R, k), falling, their slots, and the lse.

    Arguments as of ``sparse_logits``; 1 <= k <= K. Ties go to the lower slot, and so do the
    ``-inf`` that fill up a vocabulary of fewer than k words.
    """
    logits, lse = sparse_logits(hidden, weight, bias, ids, lengths, scales)
    ranked = logits.sort(dim=-1, descending=True, stable=True)
    return ranked.values[..., :k] - lse[..., None], ranked.indices[..., :k].contiguous(), lse


def sparse_backward(
    grad: Tensor, hidden: Tensor, weight: Tensor, ids: Tensor, lengths: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Returns the gradients in hidden, weight and bias of logits with the gradient ``grad``.

    Example by example, so that a word's row sums in one order: deterministic on every device.

    Args:
        grad: (B, R, K) float, of the logits; what stands past the length is ignored.
        hidden: (B, R, H) float.
        weight: (V, H) float.
        ids: (B, K) int.
        lengths: (B,) int.
    """
    d_hidden = torch.empty_like(hidden, dtype=grad.dtype)
    d_weight = grad.new_zeros(weight.shape)
    d_bias = grad.new_zeros(weight.shape[0])
    keep = torch.arange(ids.shape[1], device=ids.device)[None] < lengths[:, None]  # (B, K)
    words = ids.long().masked_fill(~keep, 0)  # zeros are added to word 0: no word is added twice
    grad = grad.masked_fill(~keep[:, None], 0)
    for example, mine in enumerate(words):
        share = grad[example]  # (R, K)
        rows = (
            weight[mine].to(grad.dtype).masked_fill(~keep[example, :, None], 0)
        )  # word 0 may be NaN
        d_hidden[example] = share @ rows
        d_weight.index_add_(0, mine, share.T @ hidden[example].to(grad.dtype))
        d_bias.index_add_(0, mine, share.sum(0))
    return d_hidden.to(hidden.dtype), d_weight.to(weight.dtype), d_bias


def select(scores: Tensor, include: Tensor, num_fixed: int, size: int) -> tuple[Tensor, Tensor]:
    """Returns each example's vocabulary: ids (B, K) ascending, 0 past the length, and lengths (B,).

    The fixed words ``0 .. num_fixed - 1`` are in, then the words of ``include``, then the best
    content words until there are ``size`` (more where ``include`` alone needs more); K is the
    longest.

    Args:
        scores: (B, C) float of the content words ``num_fixed .. V - 1``; ties to the lower word,
            NaN above all, as torch ranks it.
        include: (B, V) bool.
        num_fixed: words that are always in.
        size: at least num_fixed.
    """
    chosen = include.clone()
    chosen[:, :num_fixed] = True
    order = scores.sort(dim=1, descending=True, stable=True).indices
    # what comes in anyway goes first, before scores of inf and NaN too: it takes places
    late = ~include[:, num_fixed:].gather(1, order)
    order = order.gather(1, late.sort(dim=1, stable=True).indices)
    best = order[:, : min(size - num_fixed, scores.shape[1])]
    chosen.scatter_(1, best + num_fixed, True)
    return compact(chosen)


def compact(membership: Tensor) -> tuple[Tensor, Tensor]:
    """Returns the places of True in each row of (B, V) bool: ids (B, K) ascending, 0 past the
    length, and lengths (B,); K is the longest."""
    lengths = membership.sum(1)
    width = int(lengths.max()) if len(lengths) else 0
    order = (~membership).sort(dim=1, stable=True).indices[:, :width]
    keep = torch.arange(width, device=order.device)[None] < lengths[:, None]
    return order.masked_fill(~keep, 0), lengths


def masked_cross_entropy(
    hidden: Tensor, weight: Tensor, bias: Tensor, membership: Tensor, targets: Tensor
) -> Tensor:
    """Returns the losses of ``targets`` under M vocabularies, one softmax each: slow and plain.

    Args, returns and source as in ``monte_carlo.monte_carlo_cross_entropy``.
    """
    logits = hidden @ weight.T + bias  # (B, R, V)
    masked = logits[:, None].masked_fill(~membership[:, :, None], float("-inf"))  # (B, M, R, V)
    normaliser = masked.logsumexp(-1)  # (B, M, R)
    return normaliser - logits.gather(-1, targets[..., None])[..., 0][:, None]
