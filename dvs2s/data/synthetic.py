"""A small made-up dialogue task whose right vocabulary is known: for tests and first steps.

Every topic has its own words for messages and its own words for responses. Which topic word is in
the message decides which content words are in the response, so a perfect vocabulary predictor
exists; all other words of a pair are function words.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

_SYLLABLES = tuple(c + v for c in "bdfgklmnprtvz" for v in "aeiou")
_MESSAGES = ("do you have any {}?", "what about the {}?", "i am not at the {}.", "is this your {}?")
_RESPONSES = ("yes, but the {} and the {} are here.", "no, i have a {} and a {}.")


@dataclass(frozen=True)
class SyntheticTask:
    """Pairs and the truth about them.

    Args:
        pairs: (message, response) texts for the basic_english tokeniser and `english` rule.
        right_words: the response's content words for each topic word of a message.
    """

    pairs: tuple[tuple[str, str], ...]
    right_words: dict[str, tuple[str, ...]]


def make_task(
    num_pairs: int, *, num_topics: int = 8, words_per_topic: int = 3, seed: int = 0
) -> SyntheticTask:
    """Returns a task; equal arguments give equal tasks, and topics do not depend on num_pairs.

    Args:
        num_pairs: at least 1.
        num_topics: at least 1; num_topics * words_per_topic is at most 2000.
        words_per_topic: message words of a topic, each with two response words; at least 1.
        seed: 0 or more; chooses the pairs, not the words.
    """
    for name, value in (("num_pairs", num_pairs), ("num_topics", num_topics)):
        if value < 1:
            raise ValueError(f"{name} must be at least 1, got {value}")
    if not 1 <= words_per_topic * num_topics <= 2000 or words_per_topic < 1:
        raise ValueError(
            f"words_per_topic must be at least 1 and {num_topics} topics of it at most 2000 words, "
            f"got {words_per_topic}"
        )
    right_words: dict[str, tuple[str, ...]] = {}
    for topic in range(num_topics):
        first = topic * words_per_topic
        shared = _word("so", first)
        for k in range(first, first + words_per_topic):
            # One response word is shared by the topic, the other belongs to the message word.
            right_words[_word("mu", k)] = (shared, _word("ki", k))
    generator = np.random.default_rng(seed)
    topics = list(right_words)
    pairs = []
    for _ in range(num_pairs):
        word = topics[generator.integers(len(topics))]
        message = _MESSAGES[generator.integers(len(_MESSAGES))].format(word)
        response = _RESPONSES[generator.integers(len(_RESPONSES))].format(*right_words[word])
        pairs.append((message, response))
    return SyntheticTask(tuple(pairs), right_words)


def write_tsv(path: Path, pairs: tuple[tuple[str, str], ...]) -> None:
    """Writes pairs as message<TAB>response lines."""
    path.write_text("".join(f"{m}\t{r}\n" for m, r in pairs), encoding="utf-8", newline="\n")


def _word(start: str, number: int) -> str:
    first, second = divmod(number, len(_SYLLABLES))
    return start + _SYLLABLES[first] + _SYLLABLES[second]
