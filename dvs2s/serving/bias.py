"""Numbers added to the log-probabilities of chosen words, around any step function of search."""

from dataclasses import dataclass
from typing import Generic

import torch
from torch import Tensor

from dvs2s.decoding.protocol import State, StepModel


@dataclass(frozen=True)
class BiasedState(Generic[State]):
    """The inner state, and the numbers (A, K) of the active inputs."""

    inner: State
    bias: Tensor


class Biased(Generic[State]):
    """A ``StepModel`` whose distribution is the inner one's times exp(bias), normalised.

    Args:
        inner: B inputs with K slots.
        bias: (B, K) float, finite.

    Raises:
        ValueError: a bias of another shape.
    """

    def __init__(self, inner: StepModel[State], bias: Tensor) -> None:
        if tuple(bias.shape) != (inner.num_inputs, inner.num_slots):
            raise ValueError(
                f"bias must be (B, K) = {(inner.num_inputs, inner.num_slots)}, "
                f"got {tuple(bias.shape)}"
            )
        self._inner, self._bias = inner, bias
        self.num_inputs, self.num_slots = inner.num_inputs, inner.num_slots
        self.eos_slot, self.allowed = inner.eos_slot, inner.allowed

    def start(self) -> tuple[Tensor, BiasedState[State]]:
        """Returns the first word's log-probabilities (B, 1, K) and the state behind them."""
        log_probs, state = self._inner.start()
        return _shifted(log_probs, self._bias), BiasedState(state, self._bias)

    def step(self, slots: Tensor, state: BiasedState[State]) -> tuple[Tensor, BiasedState[State]]:
        """Returns log-probabilities (A, W, K) after the words in ``slots`` (A, W) int64."""
        log_probs, inner = self._inner.step(slots, state.inner)
        return _shifted(log_probs, state.bias), BiasedState(inner, state.bias)

    def reorder(self, state: BiasedState[State], parents: Tensor) -> BiasedState[State]:
        """Returns the state in which hypothesis w continues ``parents[a, w]``."""
        return BiasedState(self._inner.reorder(state.inner, parents), state.bias)

    def narrow(self, state: BiasedState[State], keep: Tensor) -> BiasedState[State]:
        """Returns the state of the active inputs ``keep`` alone."""
        return BiasedState(self._inner.narrow(state.inner, keep), state.bias[keep])


def _shifted(log_probs: Tensor, bias: Tensor) -> Tensor:
    shifted: Tensor = (log_probs + bias[:, None]).log_softmax(-1)
    return shifted


def slot_bias(ids: Tensor, keep: Tensor, biases: list[dict[int, float]]) -> Tensor:
    """Returns (B, K) float: each input's numbers at its words' slots, 0 elsewhere.

    Args:
        ids: (B, K) int64, slot to word, rising within a row's length.
        keep: (B, K) bool.
        biases: for each input, word id to number.
    """
    out = torch.zeros(ids.shape, device=ids.device)
    for row, bias in enumerate(biases):
        for word, number in bias.items():
            out[row].masked_fill_((ids[row] == word) & keep[row], number)
    return out
