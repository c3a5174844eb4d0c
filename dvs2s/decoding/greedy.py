"""Greedy search: the most probable word, every time."""

from torch import Tensor

from dvs2s.decoding.options import SearchOptions
from dvs2s.decoding.protocol import Hypothesis, OnStep, State, StepModel
from dvs2s.decoding.rollout import rollout


def greedy_search(
    model: StepModel[State], options: SearchOptions, *, on_step: OnStep | None = None
) -> list[list[Hypothesis]]:
    """One reply to each of the model's B inputs; among equal words the lowest slot wins.

    Args:
        model: B inputs.
        options: lengths, blocked n-grams and the length penalty are read.
        on_step: sees every word, and may stop inputs.
    """
    return rollout(model, options, _choose_best, on_step=on_step)


def _choose_best(log_probs: Tensor, inputs: list[int]) -> tuple[Tensor, Tensor]:
    best = log_probs.max(dim=-1)  # the first of equal ones; NaN counts as the greatest
    return best.indices, best.values
