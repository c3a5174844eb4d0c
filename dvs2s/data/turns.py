"""From a dialogue's turns to pairs of message and response."""

from collections.abc import Iterator, Sequence
from typing import Any, TypeAlias

Pair: TypeAlias = tuple[tuple[str, ...], str]
"""(The message's turns, oldest first; the response.) A plain tuple because it is pickled a lot."""


def pairs_of_dialogue(turns: Sequence[str], context_turns: int) -> Iterator[Pair]:
    """Yields one pair for each turn but the first, with at most `context_turns` turns before it.

    Args:
        turns: the dialogue, in order.
        context_turns: at least 1; 1 gives the last turn only.
    """
    for i in range(1, len(turns)):
        yield tuple(turns[max(0, i - context_turns) : i]), turns[i]


def bad_turns(turns: Any) -> str:
    """Returns why a parsed value is no dialogue (a list of two or more texts), or ""."""
    if not isinstance(turns, list) or not all(isinstance(turn, str) for turn in turns):
        return "not a list of texts"
    if len(turns) < 2:
        return "fewer than two turns"
    if not all(turn.strip() for turn in turns):
        return "empty side"
    return ""
