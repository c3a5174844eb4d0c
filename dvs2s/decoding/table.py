"""A model made of a table, for tests of search and for trying it out by hand."""

import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

# (input, words so far) -> K log-probabilities of the next word
Row = Callable[[int, tuple[int, ...]], Sequence[float]]


@dataclass(frozen=True)
class Prefixes:
    """The state of a table model: the active inputs, and the words of all their hypotheses."""

    inputs: list[int]
    words: list[list[tuple[int, ...]]]


class TableModel:
    """A `StepModel` that looks its log-probabilities up, one hypothesis at a time.

    Args:
        row: gives the K log-probabilities after any words of any input.
        allowed: (B, K) bool.
        eos_slot: the end-of-sentence slot.
        dtype: of the log-probabilities.
    """

    def __init__(
        self, row: Row, allowed: Tensor, *, eos_slot: int = 0, dtype: torch.dtype = torch.float32
    ) -> None:
        self.row = row
        self.allowed = allowed
        self.num_inputs, self.num_slots = allowed.shape
        self.eos_slot = eos_slot
        self.dtype = dtype

    def start(self) -> tuple[Tensor, Prefixes]:
        """Log-probabilities (B, 1, K) of the first word, and the empty state."""
        state = Prefixes(list(range(self.num_inputs)), [[()] for _ in range(self.num_inputs)])
        return self._look_up(state), state

    def step(self, slots: Tensor, state: Prefixes) -> tuple[Tensor, Prefixes]:
        """Log-probabilities (A, W, K) after the further words (A, W), and the state with them."""
        words = [
            [(*prefix, slot) for prefix, slot in zip(prefixes, new, strict=True)]
            for prefixes, new in zip(state.words, slots.tolist(), strict=True)
        ]
        state = Prefixes(state.inputs, words)
        return self._look_up(state), state

    def reorder(self, state: Prefixes, parents: Tensor) -> Prefixes:
        """The state whose hypotheses continue the old ones at `parents` (A, W')."""
        words = [
            [prefixes[parent] for parent in chosen]
            for prefixes, chosen in zip(state.words, parents.tolist(), strict=True)
        ]
        return Prefixes(state.inputs, words)

    def narrow(self, state: Prefixes, keep: Tensor) -> Prefixes:
        """The state of the active inputs at the positions `keep` (A',)."""
        kept = keep.tolist()
        return Prefixes([state.inputs[row] for row in kept], [state.words[row] for row in kept])

    def _look_up(self, state: Prefixes) -> Tensor:
        rows = [
            [list(self.row(number, prefix)) for prefix in prefixes]
            for number, prefixes in zip(state.inputs, state.words, strict=True)
        ]
        return torch.tensor(rows, dtype=self.dtype)


def random_table(
    num_inputs: int, num_slots: int, *, seed: int, grid: float = 0.0, dead: float = 0.0
) -> TableModel:
    """A table model in which every row is a function of the seed, the input and all its words.

    Args:
        num_inputs: B; num_slots: K. All slots are allowed, and slot 0 ends the sentence.
        seed: of the rows.
        grid: when above 0, values are negative multiples of it, so that many are equal; rows
            then do not sum to 1.
        dead: share of -inf among the values, 0 to 1.
    """

    def row(number: int, words: tuple[int, ...]) -> list[float]:
        chance = random.Random(repr((seed, number, words)))
        scores = [chance.gauss(0.0, 1.5) for _ in range(num_slots)]
        total = math.log(math.fsum(map(math.exp, scores)))
        values = [score - total for score in scores]
        if grid:
            values = [math.floor(value / grid) * grid for value in values]
        return [-math.inf if chance.random() < dead else value for value in values]

    return TableModel(row, torch.ones(num_inputs, num_slots, dtype=torch.bool))
