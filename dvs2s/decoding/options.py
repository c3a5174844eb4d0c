"""The settings of a search, checked when they are made."""

import math
from dataclasses import dataclass
from typing import Literal, get_args

SearchKind = Literal["greedy", "beam", "sampling", "diverse_beam"]


@dataclass(frozen=True)
class SearchOptions:
    """How replies are searched for.

    Args:
        kind: "greedy" takes the best word each time, "beam" keeps several hypotheses,
            "sampling" draws words from the model's distribution, "diverse_beam" is a beam in
            groups that avoid each other's words.
        beam: hypotheses W kept per input by beam search.
        num_best: replies per input, at most. Beams: up to `beam`. Greedy: 1. Sampling: the number
            of independent samples.
        length_penalty: alpha of GNMT: score = log_prob / ((5 + L) / 6) ** alpha, where L counts
            the words and end of sentence. 0 ranks by log-probability; more favours long replies.
        min_length: words before end of sentence, at least.
        max_length: words, at most. A reply that has as many is cut there, and its `finished` is
            False: the model is asked for `max_length` words in all, end of sentence included.
        block_ngram: no n-gram of this order occurs twice in a reply; 0 switches it off.
        temperature: sampling only; log-probabilities are divided by it before a word is drawn.
        top_k: sampling only; draw among the `top_k` best words; 0 for all.
        top_p: sampling only; draw among the fewest best words (of the `top_k`) that hold this
            share of the probability; 1 for all.
        groups: diverse beam only; groups G of `beam` / G hypotheses.
        diversity: diverse beam only; nats that a word costs a group for every hypothesis of an
            earlier group that took it at the same step.
        seed: sampling only; with an input's own seed it fixes that input's samples.

    Raises:
        ValueError: a setting is out of range; the message names `search.<field>`.
    """

    kind: SearchKind = "beam"
    beam: int = 20
    num_best: int = 1
    length_penalty: float = 0.0
    min_length: int = 1
    max_length: int = 40
    block_ngram: int = 0
    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    groups: int = 5
    diversity: float = 0.5
    seed: int = 0

    def __post_init__(self) -> None:
        if self.kind not in get_args(SearchKind):
            choices = ", ".join(get_args(SearchKind))
            raise ValueError(f"kind must be one of {choices}, got {self.kind!r}: set search.kind")
        for name, least in _LEAST_INTEGERS.items():
            _check_integer(name, getattr(self, name), least)
        for name in ("length_penalty", "temperature", "top_p", "diversity"):
            _check_number(name, getattr(self, name))
        self._check_ranges()

    def _check_ranges(self) -> None:
        if self.length_penalty < 0:
            raise _refused("length_penalty", "at least 0", self.length_penalty, "0 or more")
        if self.diversity < 0:
            raise _refused("diversity", "at least 0", self.diversity, "0 or more")
        if self.temperature <= 0:
            raise _refused("temperature", "above 0", self.temperature, "a positive number")
        if not 0 < self.top_p <= 1:
            raise _refused("top_p", "above 0 and at most 1", self.top_p, "1 to switch it off")
        if self.min_length > self.max_length:
            wanted = f"at most search.max_length={self.max_length}"
            raise _refused("min_length", wanted, self.min_length, "less, or max_length to more")
        if self.kind == "greedy" and self.num_best != 1:
            raise _refused("num_best", "1 for greedy search", self.num_best, "1, or another kind")
        if self.kind == "diverse_beam" and self.beam % self.groups:
            wanted = f"a divisor of search.beam={self.beam}"
            raise _refused("groups", wanted, self.groups, "one, or beam to a multiple")
        if self.kind in ("beam", "diverse_beam") and self.num_best > self.beam:
            wanted = f"at most search.beam={self.beam}"
            raise _refused("num_best", wanted, self.num_best, "less, or beam to more")


_LEAST_INTEGERS = {
    "beam": 1,
    "num_best": 1,
    "min_length": 0,
    "max_length": 1,
    "block_ngram": 0,
    "top_k": 0,
    "groups": 1,
    "seed": 0,
}


def _check_integer(name: str, value: object, least: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int):
        raise _refused(name, "a whole number", value, f"{least} or more")
    if value < least:
        raise _refused(name, f"at least {least}", value, f"{least} or more")


def _check_number(name: str, value: object) -> None:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number or not math.isfinite(value):  # type: ignore[arg-type]
        raise _refused(name, "a finite number", value, "a finite number")


def _refused(name: str, wanted: str, value: object, mend: str) -> ValueError:
    return ValueError(f"{name} must be {wanted}, got {value!r}: set search.{name} to {mend}")
