"""A bound on generic replies: a price that keeps their share below a number.

Let G be a set of replies and s the scores of a message's n-best list. The message's *margin* is

    m = max { s(r) : r ∈ G } - max { s(r) : r ∉ G },

minus infinity without a generic reply in the list and infinite without another one. Charged a price
μ for every reply of G, the list's best is generic exactly if m > μ. So the least μ for which a new
message gets a generic reply with probability at most q is a quantile of the margins of held-out
messages, with the finite-sample guarantee of conformal.py, for exchangeable messages and a G that
was found on others.
"""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from dvs2s.answer import Answer
from dvs2s.coverage.beside import read_beside, write_beside
from dvs2s.coverage.conformal import level_for_all

NAME = "generic.json"
# what these change is which of the list is given, not the list
_NO_MATTER = ("num_best", "generic_share", "temperature", "top_k", "top_p", "seed")

Words = tuple[str, ...]


@dataclass(frozen=True)
class GenericBound:
    """Generic replies of a model under one search, and what they are charged.

    Args:
        replies: G, as words.
        prices: μ, nats of score, by the share q; None where no price is enough.
        search: settings of the search that the margins are of.
        messages: held-out messages behind the prices.
    """

    replies: frozenset[Words]
    prices: Mapping[float, float | None]
    search: Mapping[str, Any]
    messages: int

    def price(self, share: float, search: Mapping[str, Any]) -> float:
        """Returns μ for a share under a search.

        Raises:
            ValueError: none was found for this share or this search, or none is enough.
        """
        command = "python -m dvs2s.cli.generic checkpoint=... share=..."
        for name, value in self.search.items():
            if search.get(name) != value:
                raise ValueError(
                    f"search.generic_share was calibrated with search.{name}={value}, got "
                    f"{search.get(name)}: search so, or run {command}"
                )
        for known, price in self.prices.items():
            if abs(known - share) < 1e-9:
                if price is None:
                    raise ValueError(
                        f"search.generic_share={share:g} cannot be kept: in more of the lists "
                        f"every reply is generic. Ask for a greater share, or a wider beam and "
                        f"{command}"
                    )
                return price
        there = ", ".join(f"{known:g}" for known in self.prices)
        raise ValueError(
            f"search.generic_share must be a calibrated one of {there}, got {share:g}: run "
            f"{command}"
        )

    def ranked(self, answer: Answer, price: float, count: int) -> Answer:
        """Returns the ``count`` best replies, generic ones charged; of equal ones the others first.

        Their scores are the charged ones.
        """
        places = [(reply.tokens in self.replies, reply) for reply in answer.replies]
        charged = [
            (is_generic, replace(reply, score=reply.score - price * is_generic))
            for is_generic, reply in places
        ]
        charged.sort(key=lambda one: (-one[1].score, one[0]))
        return replace(answer, replies=tuple(reply for _, reply in charged[:count]))


def most_frequent(answers: Sequence[Answer], count: int) -> frozenset[Words]:
    """Returns the ``count`` replies that are most often the best; of equal ones the earlier."""
    counts = Counter(answer.replies[0].tokens for answer in answers)
    return frozenset(words for words, _ in counts.most_common(count))


def margin(answer: Answer, generic: frozenset[Words]) -> float:
    """Returns by how much the best generic reply beats the best other one."""
    best = {True: -math.inf, False: -math.inf}
    for reply in answer.replies:
        is_generic = reply.tokens in generic
        best[is_generic] = max(best[is_generic], reply.score)
    return best[True] - best[False] if best[True] > -math.inf else -math.inf


def price_for_share(margins: Sequence[float], share: float) -> float | None:
    """Returns the least price, 0 or more, that keeps generic replies within a share.

    Args:
        margins: of held-out messages.
        share: in (0, 1).

    Returns:
        μ; None where no price is enough: too few messages, or too many lists of generic replies.

    Raises:
        ValueError: a share out of range.
    """
    level = level_for_all(np.array(margins, dtype=np.float64), share)
    return None if level == math.inf else max(level, 0.0)


def find_bound(
    answers: Sequence[Answer], search: Mapping[str, Any], shares: Sequence[float], replies: int
) -> GenericBound:
    """Returns G from one half of held-out messages, chosen at random, and prices from the other.

    Args:
        answers: whole n-best lists to different messages, at least two.
        search: all settings that they were found with, by name.
        shares: each in (0, 1).
        replies: how many make up G.

    Raises:
        ValueError: fewer answers, or a share out of range.
    """
    if len(answers) < 2:
        raise ValueError(f"answers must be to at least 2 messages, got {len(answers)}")
    order = np.random.default_rng(0).permutation(len(answers)).tolist()
    ours, others = order[::2], order[1::2]
    generic = most_frequent([answers[i] for i in ours], replies)
    margins = [margin(answers[i], generic) for i in others]
    prices = {share: price_for_share(margins, share) for share in shares}
    kept = {name: value for name, value in search.items() if name not in _NO_MATTER}
    return GenericBound(generic, prices, kept, len(others))


def write(folder: Path, bound: GenericBound) -> Path:
    """Writes the prices beside a checkpoint's weights, in one step, and returns the file.

    Raises:
        CheckpointError: it cannot be written.
    """
    return write_beside(folder, NAME, as_content(bound))


def read(folder: Path) -> GenericBound | None:
    """Returns the prices of a checkpoint, None where it has none.

    Raises:
        CheckpointError: the file is damaged, or belongs to other weights.
    """
    content = read_beside(folder, NAME)
    if content is None:
        return None
    return from_content(content)


def as_content(bound: GenericBound) -> dict[str, Any]:
    """Returns the bound as JSON holds it."""
    return {
        "replies": sorted(list(words) for words in bound.replies),
        "prices": [[share, price] for share, price in bound.prices.items()],
        "search": dict(bound.search),
        "messages": bound.messages,
    }


def from_content(content: Mapping[str, Any]) -> GenericBound:
    """Returns the bound that ``as_content`` took apart."""
    return GenericBound(
        frozenset(tuple(words) for words in content["replies"]),
        {share: price for share, price in content["prices"]},
        content["search"],
        content["messages"],
    )
