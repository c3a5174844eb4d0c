"""The operators in float64, one loop an example, and layers to try them on."""

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor


@dataclass(frozen=True)
class Layer:
    """An output layer, hidden states and the vocabularies of a batch.

    Weight rows and biases of words that no example has are NaN, and so are the ids past a length
    out of range: nothing may depend on them.
    """

    hidden: Tensor  # (B, R, H)
    weight: Tensor  # (V, H)
    bias: Tensor  # (V,)
    ids: Tensor  # (B, K)
    lengths: Tensor  # (B,)
    scales: Tensor | None = None  # (V,) of int8 weight

    def operands(self) -> tuple[Tensor, ...]:
        return self.hidden, self.weight, self.bias, self.ids, self.lengths

    def words(self, example: int) -> Tensor:
        return self.ids[example, : int(self.lengths[example])].long()

    def to(self, device: torch.device) -> "Layer":
        scales = None if self.scales is None else self.scales.to(device)
        hidden, weight, bias, ids, lengths = (tensor.to(device) for tensor in self.operands())
        return Layer(hidden, weight, bias, ids, lengths, scales)


def random_layer(
    batch: int,
    rows: int,
    width: int,
    words: int,
    slots: int,
    *,
    seed: int,
    dtype: torch.dtype = torch.float32,
    lengths: list[int] | None = None,
) -> Layer:
    """Returns a layer on the CPU with vocabularies of 1..slots words (slots <= words)."""
    generator = torch.Generator().manual_seed(seed)
    counts = torch.randint(1, slots + 1, (batch,), generator=generator)
    if lengths is not None:
        counts = torch.tensor(lengths)
    ids = torch.full((batch, slots), -7)
    for b, count in enumerate(counts.tolist()):
        chosen = torch.randperm(words, generator=generator)[:count].sort().values
        ids[b, :count] = chosen
    free = torch.ones(words, dtype=torch.bool)
    free[ids[ids >= 0]] = False
    weight = torch.randn(words, width, generator=generator) / math.sqrt(width)
    bias = torch.randn(words, generator=generator)
    weight[free], bias[free] = math.nan, math.nan
    hidden = torch.randn(batch, rows, width, generator=generator)
    return Layer(hidden.to(dtype), weight.to(dtype), bias, ids, counts)


def with_int8_weight(layer: Layer) -> Layer:
    """Returns the layer with each weight row quantised to int8 by its largest value."""
    rows = layer.weight.float().nan_to_num()
    scales = rows.abs().amax(1).clamp(min=1e-8) / 127
    weight = (rows / scales[:, None]).round().to(torch.int8)
    unused = layer.bias.isnan()
    return replace(layer, weight=weight, scales=scales.masked_fill(unused, math.nan))


def logits_of(layer: Layer, example: int, leaves: tuple[Tensor, ...] | None = None) -> Tensor:
    """Returns the logits (R, length) of one example in float64."""
    hidden, weight, bias = leaves or (layer.hidden, layer.weight, layer.bias)
    words = layer.words(example)
    rows = weight[words].double()
    if layer.scales is not None:
        rows = rows * layer.scales[words].double()[:, None]
    return hidden[example].double() @ rows.T + bias[words].double()


def logits_and_lse(layer: Layer) -> tuple[Tensor, Tensor]:
    """Returns logits (B, R, K), -inf past the length, and lse (B, R), float64."""
    batch, rows, _ = layer.hidden.shape
    logits = torch.full((batch, rows, layer.ids.shape[1]), -math.inf, dtype=torch.float64)
    for b in range(batch):
        logits[b, :, : int(layer.lengths[b])] = logits_of(layer, b).cpu()
    return logits, logits.logsumexp(-1)


def losses(layer: Layer, targets: Tensor, leaves: tuple[Tensor, ...] | None = None) -> Tensor:
    """Returns the cross-entropies (B, R) of slots, 0 where the target is negative."""
    lines = []
    for b in range(targets.shape[0]):
        scores = logits_of(layer, b, leaves).log_softmax(-1)
        gold = scores.gather(1, targets[b].clamp(min=0)[:, None])[:, 0]
        lines.append(torch.where(targets[b] < 0, torch.zeros_like(gold), -gold))
    return torch.stack(lines)


def monte_carlo_lse(leaves: tuple[Tensor, ...], members: Tensor) -> tuple[Tensor, Tensor]:
    """Returns logits (B, R, V) and lse (B, R, M); what is not in a vocabulary has no part in it."""
    hidden, weight, bias = (leaf.double() for leaf in leaves)
    logits = hidden @ weight.T + bias
    masked = logits[:, :, None].masked_fill(~members[:, None], -math.inf)  # (B, R, M, V)
    return logits, masked.logsumexp(-1)


def pack_bits(members: Tensor) -> Tensor:
    """Returns (B, M, V) bool as (B, M, ceil(V / 32)) int32: bit i % 32 of word i // 32."""
    batch, samples, words = members.shape
    padded = torch.zeros(batch, samples, -(-words // 32) * 32, dtype=torch.int64)
    padded[..., :words] = members.long()
    packed = (padded.view(batch, samples, -1, 32) * 2 ** torch.arange(32)).sum(-1)
    return torch.where(packed >= 2**31, packed - 2**32, packed).to(torch.int32)


def selected(scores: Tensor, num_fixed: int, size: int, always: Tensor | None) -> list[list[int]]:
    """Returns each example's words by sorting: score falling, ties to the lower id."""
    chosen = []
    for b, line in enumerate(scores.tolist()):
        inside = set(range(num_fixed))
        if always is not None:
            inside |= {int(i) for i in always[b].nonzero()}
        rest = sorted(
            (i + num_fixed for i in range(len(line)) if i + num_fixed not in inside),
            key=lambda word: (-line[word - num_fixed], word),
        )
        inside |= set(rest[: max(0, size - len(inside))])
        chosen.append(sorted(inside))
    return chosen
