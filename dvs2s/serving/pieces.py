"""A reply in pieces that never have to be taken back, whatever words follow."""

from collections.abc import Callable, Sequence

# How the words so far are written can depend on words to come: an apostrophe waits for a suffix or
# for its partner, a full stop for a digit. What is the same under all of these futures is settled.
_FUTURES: tuple[tuple[str, ...], ...] = (
    (),
    ("x",),
    ("s",),
    ("'",),
    ("x", "'"),
    ("s", "'"),
    (".",),
    ("1",),
    ("111",),
    ("1", ".", "1"),
    ("clock",),
)


class Pieces:
    """Words go in one at a time, settled text comes out.

    Args:
        detokenize: words to text.
        stop: texts before which the reply is cut.
    """

    def __init__(
        self, detokenize: Callable[[Sequence[str]], str], stop: Sequence[str] = ()
    ) -> None:
        self._detokenize, self._stop = detokenize, tuple(stop)
        self._tokens: list[str] = []
        self._sent = ""

    def push(self, token: str) -> str:
        """Returns the further text that is settled by one more word, perhaps none."""
        self._tokens.append(token)
        if self.has_stopped():
            return ""
        texts = [self._detokenize([*self._tokens, *future]) for future in _FUTURES]
        text = _common_prefix(texts)
        longest = max((len(s) for s in self._stop), default=0)
        return self._send(text[: len(text) - longest])  # a stop may have begun

    def has_stopped(self) -> bool:
        """Whether the words so far hold a text to stop at."""
        text = self._detokenize(self._tokens) if self._stop else ""
        return any(s in text for s in self._stop)

    def finish(self, text: str) -> str:
        """Returns the rest, once the whole text is known."""
        return self._send(text)

    def _send(self, text: str) -> str:
        if len(text) <= len(self._sent) or not text.startswith(self._sent):
            return ""
        new = text[len(self._sent) :]
        self._sent = text
        return new


def cut(text: str, stop: Sequence[str]) -> tuple[str, bool]:
    """Returns the text up to the first of the stop texts, and whether there was one."""
    places = [place for s in stop if (place := text.find(s)) >= 0]
    return (text[: min(places)], True) if places else (text, False)


def _common_prefix(texts: Sequence[str]) -> str:
    first, last = min(texts), max(texts)
    length = next(
        (i for i, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), len(first)
    )
    return first[:length]
