"""A running batch: messages join and leave between steps, words stream out as they are made."""

import weakref
from collections.abc import Sequence
from dataclasses import dataclass
from typing import get_args

import torch
from torch import Tensor

from dvs2s.decoding.options import SearchKind, SearchOptions
from dvs2s.decoding.sampling import uniforms
from dvs2s.engine.results import Decoded, read_tables
from dvs2s.engine.words import WordRule, Words
from dvs2s.model import ModelSizes

UNKNOWN_KINDS = ("diverse_beam",)
"""Searches that the engine does not know: a group's step depends on the groups before it."""

_LIKE = torch.empty(0)


@dataclass(frozen=True)
class Step:
    """What a step brought.

    Args:
        words: (request, reply, word) of every word that is certain, end of sentence included; a
            beam is certain of none before its end.
        ended: the requests that have ended and were not taken yet, rising.
        active: how many go on.
    """

    words: list[tuple[int, int, int]]
    ended: list[int]
    active: int


class EngineSession:
    """Requests in one running batch. A request's result is the same alone and in any company.

    Args:
        sizes: of the engine's model.
        handle: of the batch, owned from now on.
    """

    def __init__(self, sizes: ModelSizes, handle: int) -> None:
        self._sizes, self._handle = sizes, handle
        self._close = weakref.finalize(self, torch.ops.dvs2s.engine_batch_free, handle)

    def __enter__(self) -> "EngineSession":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Forgets all requests and gives their memory back."""
        self._close()

    def add(
        self,
        messages: Tensor,
        lengths: Tensor,
        options: SearchOptions,
        words: Words,
        *,
        input_seeds: Sequence[int] | None = None,
    ) -> list[int]:
        """Lets messages join at the next step; arguments as of ``Engine.decode``.

        Returns:
            their numbers.

        Raises:
            ValueError: arguments that do not fit.
        """
        if options.kind in UNKNOWN_KINDS:
            raise ValueError(
                f"kind must be greedy, beam or sampling for the engine, got {options.kind!r}: its "
                f"groups move one after the other, so use the plain search (engine=plain)"
            )
        batch = messages.shape[0]
        sizes = self._sizes
        words.check(
            num_fixed=sizes.num_fixed, vocabulary_size=sizes.vocabulary_size, batch_size=batch
        )
        seeds = _checked_seeds(batch, input_seeds)
        given = words.vocab
        try:
            requests: list[int] = torch.ops.dvs2s.engine_add(
                self._handle,
                messages,
                lengths,
                _whole_numbers(options),
                [options.length_penalty, options.temperature, options.top_p, words.threshold],
                [get_args(WordRule).index(words.rule), words.size, words.message_words]
                + [words.wants_odds],
                *(t if t is None else t.contiguous() for t in _tables(words)),
                None if given is None else given.ids,
                None if given is None else given.lengths,
                _draws(options, seeds),
            )
        except RuntimeError as error:
            raise ValueError(str(error).splitlines()[0]) from error
        return requests

    def step(self) -> Step:
        """Makes one more word for every active request."""
        active, words, ended = torch.ops.dvs2s.engine_step(self._handle, 1, _LIKE)
        rows = [(request, reply, word) for request, reply, word in words.view(-1, 3).tolist()]
        return Step(rows, ended.tolist(), active)

    def run(self) -> None:
        """Steps until every request has ended."""
        torch.ops.dvs2s.engine_step(self._handle, -1, _LIKE)

    def cancel(self, request: int) -> bool:
        """Forgets an active request; its place is free at once. False when it is not active."""
        gone: bool = torch.ops.dvs2s.engine_stop(self._handle, request, True)
        return gone

    def stop(self, request: int) -> bool:
        """Ends an active request with the words that it has. False when it is not active."""
        ended: bool = torch.ops.dvs2s.engine_stop(self._handle, request, False)
        return ended

    def take(self, requests: Sequence[int]) -> list[Decoded]:
        """Takes ended requests out of the batch.

        Raises:
            ValueError: one that has not ended or was taken, or a log-probability that is no number.
        """
        try:
            return read_tables(torch.ops.dvs2s.engine_take(self._handle, list(requests), _LIKE))
        except RuntimeError as error:
            raise ValueError(str(error).splitlines()[0]) from error

    def words(self, request: int) -> tuple[list[int], Tensor]:
        """Returns T of a request that was not taken yet, known as soon as it was added.

        Returns:
            ids, rising, and the logits of β of T's content words, (n,) float32; empty where they
            were neither needed nor wanted.

        Raises:
            ValueError: there is no such request in the batch.
        """
        try:
            ids, log_odds = torch.ops.dvs2s.engine_words(self._handle, request, _LIKE)
        except RuntimeError as error:
            raise ValueError(str(error).splitlines()[0]) from error
        return ids.tolist(), log_odds

    def seconds(self) -> dict[str, float]:
        """Returns the seconds so far of encoding, prediction, selection and search."""
        figures = torch.ops.dvs2s.engine_figures(self._handle, _LIKE).tolist()
        return dict(zip(("encode", "predict", "select", "search"), figures[:4], strict=True))


def _whole_numbers(options: SearchOptions) -> list[int]:
    return [
        get_args(SearchKind).index(options.kind),
        options.beam,
        options.num_best,
        options.min_length,
        options.max_length,
        options.block_ngram,
        options.top_k,
    ]


def _tables(words: Words) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
    return words.penalty, words.include, words.forbid


def _draws(options: SearchOptions, seeds: Sequence[int]) -> Tensor | None:
    """Returns what sampling draws with, (B, max_length, num_best); None for other searches."""
    if options.kind != "sampling":
        return None
    return uniforms(options, seeds).transpose(0, 1).contiguous()


def _checked_seeds(batch: int, input_seeds: Sequence[int] | None) -> list[int]:
    seeds = list(range(batch)) if input_seeds is None else list(input_seeds)
    if len(seeds) != batch:
        raise ValueError(
            f"input_seeds must hold one seed for each of {batch} inputs, got {len(seeds)}: "
            "pass as many seeds as inputs"
        )
    if any(seed < 0 for seed in seeds):
        raise ValueError(
            f"input_seeds must be at least 0, got {min(seeds)}: pass whole numbers from 0 up"
        )
    return seeds
