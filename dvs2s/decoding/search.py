"""The door to search: one function for every kind, and the names that its callers need."""

from collections.abc import Sequence

import torch
from torch import Tensor

from dvs2s.decoding.beam import beam_search
from dvs2s.decoding.diverse import diverse_beam_search
from dvs2s.decoding.greedy import greedy_search
from dvs2s.decoding.options import SearchKind, SearchOptions
from dvs2s.decoding.protocol import Hypothesis, OnStep, State, StepModel
from dvs2s.decoding.sampling import sampling_search

__all__ = [
    "Hypothesis",
    "OnStep",
    "SearchKind",
    "SearchOptions",
    "State",
    "StepModel",
    "search",
]


def search(
    model: StepModel[State],
    options: SearchOptions,
    *,
    input_seeds: Sequence[int] | None = None,
    on_step: OnStep | None = None,
) -> list[list[Hypothesis]]:
    """The replies to each of the model's B inputs, best first.

    No input's replies depend on the other inputs. A reply that could not be ended within
    `max_length` words is flagged by `finished=False`; beam search gives such ones only to an input
    for which nothing was finished.

    Args:
        model: B inputs with K slots each.
        options: the kind of search and its settings.
        input_seeds: sampling only: one whole number >= 0 an input; with `options.seed` it fixes
            the input's samples, whoever shares the batch. Positions in the batch by default.
        on_step: called after every word with the inputs still active and their new slots; returns
            the inputs to stop, if any. Beam searches call it with empty lists of slots.

    Returns:
        B lists of 1 to `num_best` hypotheses with finite scores.

    Raises:
        ValueError: the model or the seeds do not fit, or a log-probability is NaN or +inf.
    """
    _check_model(model)
    seeds = _checked_seeds(model.num_inputs, input_seeds)
    if model.num_inputs == 0:
        return []
    with torch.no_grad():
        match options.kind:
            case "greedy":
                return greedy_search(model, options, on_step=on_step)
            case "beam":
                return beam_search(model, options, on_step=on_step)
            case "diverse_beam":
                return diverse_beam_search(model, options, on_step=on_step)
            case "sampling":
                return sampling_search(model, options, seeds, on_step=on_step)


def _check_model(model: StepModel[State]) -> None:
    expected = (model.num_inputs, model.num_slots)
    allowed: Tensor = model.allowed
    if tuple(allowed.shape) != expected or allowed.dtype != torch.bool:
        raise ValueError(
            f"allowed must be a bool tensor of shape (B, K) = {expected}, got {allowed.dtype} of "
            f"shape {tuple(allowed.shape)}: mark every slot of every input"
        )
    if not 0 <= model.eos_slot < model.num_slots:
        raise ValueError(
            f"eos_slot must be one of the {model.num_slots} slots, got {model.eos_slot}: "
            "keep end of sentence in every vocabulary"
        )


def _checked_seeds(num_inputs: int, input_seeds: Sequence[int] | None) -> list[int]:
    if input_seeds is None:
        return list(range(num_inputs))
    seeds = list(input_seeds)
    if len(seeds) != num_inputs:
        raise ValueError(
            f"input_seeds must hold one seed for each of {num_inputs} inputs, got {len(seeds)}: "
            "pass as many seeds as inputs"
        )
    if any(seed < 0 for seed in seeds):
        raise ValueError(
            f"input_seeds must be at least 0, got {min(seeds)}: pass whole numbers from 0 up"
        )
    return seeds
