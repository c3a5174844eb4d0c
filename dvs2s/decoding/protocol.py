"""What search asks of a model, and what it gives back.

A hypothesis is a row of slots: places within one input's vocabulary, not word ids.
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Protocol, TypeVar

from torch import Tensor

State = TypeVar("State")

# Called after every word with the inputs still going on (positions in the batch) and, for each,
# the slots just generated (one for greedy, one a sample for sampling, none for beam, where no word
# is certain before the end; the end-of-sentence slot for a sample that has ended). It returns the
# inputs to stop, or None; a stopped input keeps the words that it has.
OnStep = Callable[[list[int], list[list[int]]], Collection[int] | None]


class StepModel(Protocol[State]):
    """A model that a search can drive: one word of every hypothesis at a time.

    B inputs at the start, A <= B of them still active; W hypotheses of each; K padded slots.
    """

    @property
    def num_inputs(self) -> int:
        """The number B of inputs."""
        ...

    @property
    def num_slots(self) -> int:
        """The number K of slots, padding included."""
        ...

    @property
    def eos_slot(self) -> int:
        """The end-of-sentence slot, the same for every input."""
        ...

    @property
    def allowed(self) -> Tensor:
        """Which slots may be generated: (B, K) bool, on the device of the log-probabilities."""
        ...

    def start(self) -> tuple[Tensor, State]:
        """Log-probabilities (B, 1, K) float32 of the first word, and the state of B x 1."""
        ...

    def step(self, slots: Tensor, state: State) -> tuple[Tensor, State]:
        """Log-probabilities (A, W, K) of the word after `slots` (A, W) int64, and the new state.

        Hypotheses that have ended are given the end-of-sentence slot and their answer is ignored.
        """
        ...

    def reorder(self, state: State, parents: Tensor) -> State:
        """The state in which hypothesis w of input a continues the old parents[a, w].

        `parents` is (A, W') int64; W' may differ from the old W.
        """
        ...

    def narrow(self, state: State, keep: Tensor) -> State:
        """The state of the active inputs at the positions `keep` (A',) int64, rising."""
        ...


@dataclass(frozen=True)
class Hypothesis:
    """One reply to one input.

    Args:
        slots: the words' slots, without end of sentence.
        score: what hypotheses are ranked by: `log_prob` with the length penalty.
        log_prob: the sum of `token_log_probs`.
        token_log_probs: one natural logarithm a word, and that of end of sentence when finished.
        finished: whether end of sentence was generated; otherwise the reply was cut.
    """

    slots: tuple[int, ...]
    score: float
    log_prob: float
    token_log_probs: tuple[float, ...]
    finished: bool


def penalty_of_length(length: int, alpha: float) -> float:
    """What the log-probability of `length` words, end of sentence included, is divided by.

    Source: Wu et al. 2016 (GNMT), equation 14, without the coverage term.
    """
    return float(((5.0 + length) / 6.0) ** alpha)


def make_hypothesis(
    slots: list[int], token_log_probs: list[float], *, finished: bool, alpha: float
) -> Hypothesis:
    """The hypothesis with these words, its log-probability summed and its score computed."""
    log_prob = 0.0
    for value in token_log_probs:  # in the order in which the search adds, so that sums are equal
        log_prob += value
    return Hypothesis(
        slots=tuple(slots),
        score=log_prob / penalty_of_length(len(token_log_probs), alpha),
        log_prob=log_prob,
        token_log_probs=tuple(token_log_probs),
        finished=finished,
    )
