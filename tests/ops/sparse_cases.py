"""Random calls of the operators, shared by their tests."""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Case:
    """The operands of one call: weights of the words in no vocabulary are NaN."""

    hidden: Tensor
    weight: Tensor
    bias: Tensor
    ids: Tensor
    lengths: Tensor

    def operands(self) -> tuple[Tensor, ...]:
        return self.hidden, self.weight, self.bias, self.ids, self.lengths

    def to(self, dtype: torch.dtype) -> "Case":
        return Case(
            self.hidden.to(dtype),
            self.weight.to(dtype),
            self.bias.to(dtype),
            self.ids,
            self.lengths,
        )


def random_case(
    batch: int,
    rows: int,
    width: int,
    words: int,
    *,
    seed: int,
    scale: float = 1.0,
    dtype: torch.dtype = torch.float64,
) -> Case:
    """Ragged vocabularies from 1 word to all; hidden is a non-contiguous view; padding is junk."""
    generator = torch.Generator().manual_seed(seed)

    def random(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    lengths = torch.randint(1, words + 1, (batch,), generator=generator)
    widest = int(lengths.max()) + int(torch.randint(0, 3, (1,), generator=generator))
    ids = torch.randint(-5, words + 5, (batch, widest), generator=generator)
    for example, length in enumerate(lengths.tolist()):
        mine = torch.randperm(words, generator=generator)[:length].sort().values
        ids[example, :length] = mine
    hidden = random(rows, batch, width).transpose(0, 1)
    weight, bias = random(words, width) / width**0.5, random(words) * scale
    used = torch.zeros(words, dtype=torch.bool)
    for example, length in enumerate(lengths.tolist()):
        used[ids[example, :length]] = True
    weight[~used] = float("nan")
    return Case(hidden, weight, bias, ids, lengths).to(dtype)
