"""What one word's membership is worth: the reward with it in T less the reward without it.

A word enters ``log p(Y | T)`` through the partition sums only, so with those of a sampled T at
hand the difference is known for every word at once, without another sample.
"""

import torch
from torch import Tensor

# Products of this many factors are taken before a logarithm: in float32 a factor is then exact
# between 3e-10 and 3e9 (22 nats a row), and clamped beyond.
_CHUNK = 4


def inclusion_gains(
    hidden: Tensor,
    weight: Tensor,
    bias: Tensor,
    membership: Tensor,
    targets: Tensor,
    mask: Tensor,
    losses: Tensor,
) -> Tensor:
    """Returns (B, V) float: the mean over the samples of ``sample_gains``, of the same arguments.

    Raises:
        ValueError: shapes that do not fit.
    """
    return sample_gains(hidden, weight, bias, membership, targets, mask, losses).mean(1)


@torch.no_grad()
def sample_gains(
    hidden: Tensor,
    weight: Tensor,
    bias: Tensor,
    membership: Tensor,
    targets: Tensor,
    mask: Tensor,
    losses: Tensor,
) -> Tensor:
    """Returns ``log p(Y | T ∪ {i}) - log p(Y | T ∖ {i})`` of every word i and every sampled T.

    Args:
        hidden: (B, R, H) float32 or float64.
        weight: (V, H).
        bias: (V,).
        membership: (B, M, V) bool, the sampled vocabularies T, targets in.
        targets: (B, R) int64 words of the response Y.
        mask: (B, R) bool, True on words of the response.
        losses: (B, M, R) nats, ``-log p(target | T)`` of these very arguments.

    Returns:
        (B, M, V) float, at most 0, detached; an error of about eps / (1 - share) a row where one
        word in T holds nearly all of the mass. Of words in Y it means nothing: they are never left
        out.

    Raises:
        ValueError: shapes that do not fit.

    Source: with Z_l the partition sum of T and e_i = exp s_l(i), Σ_l of -log(1 + e_i / Z_l) for i
    outside of T and of log(1 - e_i / Z_l) for i inside; Titsias and Lázaro-Gredilla 2015 for its
    use (``objectives/lower_bound.py``).
    """
    batch, rows = hidden.shape[:2]
    if losses.shape != (batch, membership.shape[1], rows) or mask.shape != (batch, rows):
        raise ValueError(
            f"losses must be (B, M, R) = ({batch}, {membership.shape[1]}, {rows}) and mask (B, R), "
            f"got {tuple(losses.shape)} and {tuple(mask.shape)}"
        )
    logits = torch.matmul(hidden, weight.T).add_(bias)  # (B, R, V)
    gold = logits.gather(-1, targets[..., None])[..., 0]  # (B, R)
    least = float(torch.finfo(logits.dtype).tiny ** (1 / _CHUNK))
    factors = torch.empty_like(logits)
    gains = logits.new_zeros(batch, membership.shape[1], logits.shape[2])
    for sample in range(membership.shape[1]):
        # log Z_l = s_l(gold) + loss; infinite on padding: a share of 0, a factor of 1
        normaliser = (gold + losses[:, sample]).masked_fill(~mask, torch.inf)
        sign = torch.where(membership[:, sample], -1.0, 1.0).to(logits.dtype)  # (B, V)
        torch.sub(logits, normaliser[..., None], out=factors)
        factors.exp_()  # e_i / Z_l, inf beyond float32: clamped below
        factors.mul_(sign[:, None]).add_(1).clamp_(least, 1 / least)
        for chunk in torch.split(factors, _CHUNK, dim=1):
            gains[:, sample].addcmul_(chunk.prod(1).log_(), sign, value=-1)
    return gains
