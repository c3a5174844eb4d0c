"""Sampling: words drawn from the model's distribution, cut to its best words on request."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from dvs2s.decoding.options import SearchOptions
from dvs2s.decoding.ordering import top_indices
from dvs2s.decoding.protocol import Hypothesis, OnStep, State, StepModel
from dvs2s.decoding.rollout import rollout


def sampling_search(
    model: StepModel[State],
    options: SearchOptions,
    input_seeds: Sequence[int],
    *,
    on_step: OnStep | None = None,
) -> list[list[Hypothesis]]:
    """`num_best` independent samples for each input, best score first.

    Scores are the model's own log-probabilities, before temperature and cuts. A sample depends on
    its input, `options`, the input's seed and its number among the samples, on nothing else.

    Args:
        model: B inputs.
        options: everything but `beam` is read.
        input_seeds: B whole numbers >= 0.
        on_step: sees every word, and may stop inputs.
    """
    draws = _Draws(options, input_seeds)
    return rollout(model, options, draws.choose, width=options.num_best, on_step=on_step)


def uniforms(options: SearchOptions, input_seeds: Sequence[int]) -> Tensor:
    """All the chance of a search: (max_length, B, num_best) float64 in [0, 1).

    Args:
        options: ``seed``, ``max_length`` and ``num_best`` are read.
        input_seeds: B whole numbers >= 0.
    """
    numbers = np.empty((options.max_length, len(input_seeds), options.num_best))
    for position, input_seed in enumerate(input_seeds):
        for sample in range(options.num_best):
            entropy = np.random.SeedSequence([options.seed, input_seed, sample])
            generator = np.random.Generator(np.random.PCG64(entropy))
            numbers[:, position, sample] = generator.random(options.max_length)
    return torch.from_numpy(numbers)


class _Draws:
    """All the chance of one search: a uniform number for every word of every sample."""

    def __init__(self, options: SearchOptions, input_seeds: Sequence[int]) -> None:
        self._options = options
        self._length = 0
        self._uniforms = uniforms(options, input_seeds)

    def choose(self, log_probs: Tensor, inputs: list[int]) -> tuple[Tensor, Tensor]:
        """Draw the next word of each of the (A, W) samples; the law is rollout's `Choose`."""
        uniforms = self._uniforms[self._length, inputs].reshape(-1)  # (A * W,)
        self._length += 1
        rows = log_probs.flatten(0, 1)  # (A * W, K)
        slots = None
        if self._options.top_k:
            slots = top_indices(rows, self._options.top_k)
            rows = rows.gather(-1, slots)
        rows = rows.double().cpu()
        best = rows.amax(dim=-1)  # NaN wins, and is found by rollout
        probs = _probabilities(rows, best, self._options.temperature)
        if self._options.top_p < 1:
            probs = _cut_to_nucleus(probs, self._options.top_p)
        places = _invert(probs, uniforms).to(log_probs.device)
        if slots is not None:
            places = slots.gather(-1, places[:, None]).squeeze(-1)
        return places.view(log_probs.shape[:2]), best.view(log_probs.shape[:2])


def _probabilities(log_probs: Tensor, best: Tensor, temperature: float) -> Tensor:
    """(N, K) weights, the best word's 1, all 0 in a row without a word (sums are not needed)."""
    origin = best.masked_fill(best == -torch.inf, 0.0)
    return ((log_probs - origin[:, None]) / temperature).exp()


def _cut_to_nucleus(probs: Tensor, top_p: float) -> Tensor:
    """The weights with 0 outside the fewest best words that hold the share `top_p`.

    Source: Holtzman et al. 2020, section 3.1.
    """
    ranked = probs.sort(dim=-1, descending=True, stable=True)
    before = ranked.values.cumsum(dim=-1) - ranked.values
    outside = before >= top_p * ranked.values.sum(dim=-1, keepdim=True)
    return probs.masked_fill(torch.zeros_like(outside).scatter(-1, ranked.indices, outside), 0.0)


def _invert(probs: Tensor, uniforms: Tensor) -> Tensor:
    """The place at which each row's cumulative weight passes its uniform share of the whole.

    Slots stay in their own order: ranked by weight, a rounding error between two near-equal words
    would move whole intervals, and a sample would depend on its batch.
    """
    cumulative = probs.cumsum(dim=-1)
    # A uniform number is at most 1 - 2**-53, so the product stays below the whole when rounded, and
    # the place found has some weight. In a row without any, it is the last.
    target = uniforms * cumulative[:, -1]
    places = torch.searchsorted(cumulative, target[:, None], right=True).squeeze(-1)
    return places.clamp_(max=probs.size(-1) - 1)
