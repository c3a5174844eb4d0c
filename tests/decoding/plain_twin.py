"""What the plain twins of the beam searches share: rules and scores over tuples."""

import numpy as np

from dvs2s.decoding.search import Hypothesis
from dvs2s.decoding.table import TableModel


def single(value: float) -> float:
    """As a tensor of single precision holds it."""
    return float(np.float32(value))


def may_follow(model: TableModel, number: int, words: tuple, slot: int, options) -> bool:
    if not model.allowed[number, slot]:
        return False
    if slot == model.eos_slot and len(words) < options.min_length:
        return False
    order, reply = options.block_ngram, (*words, slot)
    ngrams = [reply[i : i + order] for i in range(len(reply) - order + 1)] if order else []
    return len(ngrams) == len(set(ngrams))


def hypothesis_of(words: tuple, values: tuple, finished: bool, alpha: float) -> Hypothesis:
    log_prob = sum(values, 0.0)
    score = log_prob / ((5 + len(values)) / 6) ** alpha
    return Hypothesis(words, score, log_prob, values, finished)
