"""The operators over a vocabulary of each example's own, as people call them.

A vocabulary is ids (B, K), ascending and unique, with lengths (B,); the R rows of hidden states of
an example share it: a beam, or the tokens of one response.
"""

import torch
from torch import Tensor

from dvs2s.ops.planner import Route, choose

_FLOATS = (torch.float32, torch.float64, torch.bfloat16, torch.float16)


def sparse_log_softmax(
    hidden: Tensor,
    weight: Tensor,
    bias: Tensor,
    ids: Tensor,
    lengths: Tensor,
    *,
    scales: Tensor | None = None,
    route: Route = "auto",
    validate: bool = True,
) -> Tensor:
    """Returns the log-probabilities of an example's own words.

    Args:
        hidden: (B, R, H) float32, bfloat16, float16 or float64.
        weight: (V, H) of hidden's type, one row a word; or int8 with ``scales``, inference only.
        bias: (V,) float.
        ids: (B, K) int32 or int64 words in 0..V-1, ascending and unique within a row's length.
        lengths: (B,) int32 or int64 in 1..K, the number of slots in use.
        scales: (V,) float32, of int8 rows: row v is ``scales[v] * weight[v]``.
        route: how a fast kernel walks; the result is the same (``planner.py``).
        validate: check ids and lengths; on a GPU this waits for the device. Not done under
            ``torch.compile`` and ``torch.export``, which cannot read them. Off in loops that
            have checked them: a kernel then still refuses an id outside of 0..V-1 on the CPU.

    Returns:
        (B, R, K) float32, or float64 for float64; ``-inf`` past the length. Differentiable once in
        hidden, weight and bias.

    Raises:
        ValueError: shapes or types that do not fit, or a vocabulary that is empty, unsorted,
            repeated or out of range.

    Source: paper, decoder: p(y_l) = exp s_l(y_l) / Σ_{i∈T} exp s_l(i).
    """
    check_operands(hidden, weight, bias, ids, lengths, scales, validate=validate)
    way = choose(route, hidden, weight, ids)
    logits, lse = torch.ops.dvs2s.sparse_logits(hidden, weight, bias, ids, lengths, scales, way)
    log_probs: Tensor = logits - lse[..., None]
    return log_probs


def sparse_cross_entropy(
    hidden: Tensor,
    weight: Tensor,
    bias: Tensor,
    ids: Tensor,
    lengths: Tensor,
    targets: Tensor,
    *,
    route: Route = "auto",
    validate: bool = True,
) -> tuple[Tensor, Tensor]:
    """Returns ``-log p(target)`` of each row and the logarithm of its partition sum.

    The logits are computed again in the backward pass, not kept.

    Args:
        hidden, weight, bias, ids, lengths, route, validate: as of ``sparse_log_softmax``; no int8.
        targets: (B, R) int64 slots below the length; negative ones are ignored: their loss is 0.

    Returns:
        losses (B, R) and lse (B, R), float32 or float64, nats; differentiable once.

    Raises:
        ValueError: as of ``sparse_log_softmax``, or a target past the length.

    Source: paper, decoder; docs/operators.md.
    """
    check_operands(hidden, weight, bias, ids, lengths, None, validate=validate)
    if targets.shape != hidden.shape[:2] or targets.dtype != torch.int64:
        raise ValueError(
            f"targets must be (B, R) = {tuple(hidden.shape[:2])} int64 slots, got "
            f"{tuple(targets.shape)} {targets.dtype}"
        )
    if reads_values(validate) and bool((targets >= lengths[:, None]).any()):
        raise ValueError(
            "targets must be slots below the length of their vocabulary: look words up with "
            "DynamicVocab.slots, and pass -1 for a row to leave out"
        )
    way = choose(route, hidden, weight, ids)
    losses, lse = torch.ops.dvs2s.sparse_cross_entropy(
        hidden, weight, bias, ids, lengths, targets, way
    )
    return losses, lse


def sparse_topk(
    hidden: Tensor,
    weight: Tensor,
    bias: Tensor,
    ids: Tensor,
    lengths: Tensor,
    k: int,
    *,
    scales: Tensor | None = None,
    route: Route = "auto",
    validate: bool = True,
) -> tuple[Tensor, Tensor]:
    """Returns the k best log-probabilities of each row and their slots, logits never kept.

    Args:
        hidden, weight, bias, ids, lengths, scales, route, validate: as of ``sparse_log_softmax``.
        k: 1..K; where a vocabulary has fewer words, ``-inf`` at masked slots fills up.

    Returns:
        scores (B, R, k) float32 or float64, falling, and slots (B, R, k) int64; ties to the lower
        slot. Not differentiable.

    Raises:
        ValueError: as of ``sparse_log_softmax``, or k out of range.
    """
    check_operands(hidden, weight, bias, ids, lengths, scales, validate=validate)
    if not 1 <= k <= ids.shape[1]:
        raise ValueError(f"k must lie in 1..K = {ids.shape[1]}, got {k}: ask for fewer")
    way = choose(route, hidden, weight, ids)
    operands = (hidden, weight, bias, ids, lengths, scales, k, way)
    if not torch.is_grad_enabled():  # to enter no_grad takes half as long as the way to a kernel
        scores, slots, _ = torch.ops.dvs2s.sparse_topk(*operands)
        return scores, slots
    with torch.no_grad():
        scores, slots, _ = torch.ops.dvs2s.sparse_topk(*operands)
    return scores, slots


def select(
    scores: Tensor, *, num_fixed: int, size: int, include: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Returns the vocabulary of each example: fixed words, included words, best content words.

    Args:
        scores: (B, C) float of the content words ``num_fixed .. V - 1``, such as logits of β.
        num_fixed: words ``0 .. num_fixed - 1`` that are always in.
        size: |T|, fixed words counted; at least num_fixed. More included words widen it.
        include: (B, V) bool, words that come in first; None for none.

    Returns:
        ids (B, K) int64 ascending, 0 past the length, and lengths (B,) int64; K is the longest.
        Ties go to the lower word.

    Raises:
        ValueError: shapes that do not fit or a size below num_fixed.

    Source: paper, inference: T = F ∪ {the content words of highest β}.
    """
    if scores.dim() != 2:
        raise ValueError(f"scores must be (B, C), got {tuple(scores.shape)}")
    if not 0 <= num_fixed <= size:
        raise ValueError(
            f"size must be at least the {num_fixed} words that are always in, got {size}: "
            f"ask for more words"
        )
    full = (scores.shape[0], num_fixed + scores.shape[1])
    if include is None:
        include = scores.new_zeros(full, dtype=torch.bool)
    if tuple(include.shape) != full or include.dtype != torch.bool:
        raise ValueError(
            f"include must be (B, V) = {full} bool, got {tuple(include.shape)} {include.dtype}"
        )
    ids, lengths = torch.ops.dvs2s.select(scores, include, num_fixed, size)
    return ids, lengths


def compact(membership: Tensor) -> tuple[Tensor, Tensor]:
    """Returns the words that are True in each row: ids (B, K) int64 ascending and lengths (B,).

    Args:
        membership: (B, V) bool.

    Raises:
        ValueError: not (B, V) bool.
    """
    if membership.dim() != 2 or membership.dtype != torch.bool:
        raise ValueError(
            f"membership must be (B, V) bool, got {tuple(membership.shape)} {membership.dtype}"
        )
    ids, lengths = torch.ops.dvs2s.compact(membership)
    return ids, lengths


def reads_values(validate: bool) -> bool:
    """Returns whether a check may read what is in tensors: not while a compiler traces the call.

    Args:
        validate: whether the caller asks for the check.
    """
    return validate and not torch.compiler.is_compiling()


def check_operands(
    hidden: Tensor,
    weight: Tensor,
    bias: Tensor,
    ids: Tensor,
    lengths: Tensor,
    scales: Tensor | None,
    *,
    validate: bool,
) -> None:
    """Checks what every operator takes.

    Raises:
        ValueError: naming argument, value and mend.
    """
    if hidden.dim() != 3 or weight.dim() != 2 or hidden.shape[2] != weight.shape[1]:
        raise ValueError(
            f"hidden must be (B, R, H) and weight (V, H) of one width H, "
            f"got {tuple(hidden.shape)} and {tuple(weight.shape)}"
        )
    if hidden.dtype not in _FLOATS:
        raise ValueError(f"hidden must be a float tensor, got {hidden.dtype}: convert it")
    if (weight.dtype == torch.int8) != (scales is not None):
        raise ValueError(f"scales go with int8 weight, got weight of {weight.dtype}")
    if scales is None and weight.dtype != hidden.dtype:
        raise ValueError(
            f"weight must have hidden's type {hidden.dtype} or be int8, got {weight.dtype}"
        )
    if scales is not None and (scales.shape != bias.shape or scales.dtype != torch.float32):
        raise ValueError(f"scales must be (V,) float32, got {tuple(scales.shape)} {scales.dtype}")
    if bias.shape != weight.shape[:1]:
        raise ValueError(f"bias must be (V,) = {tuple(weight.shape[:1])}, got {tuple(bias.shape)}")
    if ids.dim() != 2 or ids.shape[0] != hidden.shape[0]:
        raise ValueError(f"ids must be (B, K) with B = {hidden.shape[0]}, got {tuple(ids.shape)}")
    if lengths.shape != ids.shape[:1]:
        raise ValueError(
            f"lengths must be (B,) = {tuple(ids.shape[:1])}, got {tuple(lengths.shape)}"
        )
    for name, tensor in (("ids", ids), ("lengths", lengths)):
        if tensor.dtype not in (torch.int32, torch.int64):
            raise ValueError(f"{name} must be int32 or int64, got {tensor.dtype}: convert it")
    if reads_values(validate):
        check_vocabulary(ids, lengths, weight.shape[0])


def check_vocabulary(ids: Tensor, lengths: Tensor, vocabulary_size: int) -> None:
    """Checks that every row is a non-empty, ascending list of different words in 0..V-1.

    Args:
        ids: (B, K) int.
        lengths: (B,) int.
        vocabulary_size: V.

    Raises:
        ValueError: naming the row and the mend.
    """
    slots = torch.arange(ids.shape[1], device=ids.device)
    used = slots[None] < lengths[:, None]  # (B, K)
    empty = (lengths < 1) | (lengths > ids.shape[1])
    outside = (((ids < 0) | (ids >= vocabulary_size)) & used).any(1)
    falling = ((ids[:, 1:] <= ids[:, :-1]) & used[:, 1:]).any(1)
    bad = torch.stack([empty, outside, falling])  # (3, B)
    if not bool(bad.any()):
        return
    messages = (
        f"lengths must lie in 1..{ids.shape[1]}, got {{length}} for input {{row}}",
        f"ids must lie in 0..{vocabulary_size - 1}, which those of input {{row}} do not: "
        f"use the weight's own words",
        "ids must be ascending and unique within the length, which those of input {row} are not: "
        "sort them and drop repeated ones",
    )
    for rows, message in zip(bad, messages, strict=True):
        if bool(rows.any()):
            row = int(rows.nonzero()[0, 0])
            raise ValueError(message.format(row=row, length=int(lengths[row])))
