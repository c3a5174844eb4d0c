"""What the operators mean, in plain PyTorch: the specification that fast forms are tested against.

Slots past an example's length are masked, never padded with a real word.
"""

import torch
from torch import Tensor


def sparse_log_softmax(
    hidden: Tensor, weight: Tensor, bias: Tensor, ids: Tensor, lengths: Tensor
) -> Tensor:
    """Returns the log-probabilities of an example's own words.

    Args:
        hidden: (B, R, H) float; the R rows of an example share its vocabulary.
        weight: (V, H) float, one row a word.
        bias: (V,) float.
        ids: (B, K) int64 words in 0..V-1, ascending and unique within a row's length.
        lengths: (B,) int64 in 1..K, the number of slots in use.

    Returns:
        (B, R, K) float32, ``-inf`` past the length.

    Raises:
        ValueError: shapes that do not fit, or an id or length out of range.

    Source: paper, decoder: p(y_l) = exp s_l(y_l) / Σ_{i∈T} exp s_l(i).
    """
    _check(hidden, weight, bias, ids, lengths)
    slots = torch.arange(ids.shape[1], device=ids.device)
    keep = slots[None] < lengths[:, None]  # (B, K)
    rows = weight[ids.masked_fill(~keep, 0)]  # (B, K, H)
    logits = torch.bmm(hidden, rows.transpose(1, 2)).float()  # (B, R, K)
    logits = logits + bias[ids.masked_fill(~keep, 0)].float()[:, None]
    return logits.masked_fill(~keep[:, None], float("-inf")).log_softmax(-1)


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


def _check(hidden: Tensor, weight: Tensor, bias: Tensor, ids: Tensor, lengths: Tensor) -> None:
    if hidden.dim() != 3 or weight.dim() != 2 or hidden.shape[2] != weight.shape[1]:
        raise ValueError(
            f"hidden must be (B, R, H) and weight (V, H) of one width H, "
            f"got {tuple(hidden.shape)} and {tuple(weight.shape)}"
        )
    if bias.shape != weight.shape[:1]:
        raise ValueError(f"bias must be (V,) = {tuple(weight.shape[:1])}, got {tuple(bias.shape)}")
    if ids.dim() != 2 or ids.shape[0] != hidden.shape[0]:
        raise ValueError(f"ids must be (B, K) with B = {hidden.shape[0]}, got {tuple(ids.shape)}")
    if lengths.shape != ids.shape[:1]:
        raise ValueError(
            f"lengths must be (B,) = {tuple(ids.shape[:1])}, got {tuple(lengths.shape)}"
        )
    if not bool(((lengths >= 1) & (lengths <= ids.shape[1])).all()):
        raise ValueError(f"lengths must lie in 1..{ids.shape[1]}, got {lengths.tolist()}")
    used = torch.arange(ids.shape[1], device=ids.device)[None] < lengths[:, None]
    if not bool(((ids >= 0) & (ids < weight.shape[0]) | ~used).all()):
        raise ValueError(f"ids must lie in 0..{weight.shape[0] - 1}: use the weights' own words")
