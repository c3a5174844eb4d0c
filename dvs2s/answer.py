"""What a responder says: replies, the words they were allowed, and the time it took."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property


@dataclass(frozen=True)
class Reply:
    """One reply.

    Args:
        text: as a person would write it.
        tokens: the words that were generated.
        score: what replies are ranked by: log-probability over the length penalty.
        log_prob: Σ log p(y_l | y_<l, T, X), nats, end of sentence included.
        finished: False when ``max_length`` cut it.
    """

    text: str
    tokens: tuple[str, ...]
    score: float
    log_prob: float
    finished: bool


@dataclass(frozen=True)
class AdmittedWord:
    """A word that the model allowed itself.

    Args:
        word: the word.
        beta: probability that it belongs, β in 0..1; 1 for function words.
        is_function: whether it is in every vocabulary.
    """

    word: str
    beta: float
    is_function: bool


class WordsOnDemand(Sequence[AdmittedWord]):
    """Admitted words that are listed when somebody looks: most answers' never are.

    Args:
        make: lists them.
        count: how many they will be.
    """

    def __init__(self, make: Callable[[], Sequence[AdmittedWord]], count: int) -> None:
        self._make, self._count = make, count

    @cached_property
    def _words(self) -> Sequence[AdmittedWord]:
        return self._make()

    def __getitem__(self, index):  # type: ignore[no-untyped-def]
        return self._words[index]

    def __len__(self) -> int:
        return self._count


@dataclass(frozen=True)
class AdmittedWords(Sequence[AdmittedWord]):
    """The dynamic vocabulary T of one message, special words left out, likely words first.

    Args:
        words: all of them.
        total: V, the words there are.
    """

    words: Sequence[AdmittedWord]
    total: int

    def __getitem__(self, index):  # type: ignore[no-untyped-def]
        return self.words[index]

    def __len__(self) -> int:
        return len(self.words)

    @property
    def content(self) -> tuple[AdmittedWord, ...]:
        """Content words, likely ones first."""
        return tuple(word for word in self.words if not word.is_function)

    @property
    def function(self) -> tuple[AdmittedWord, ...]:
        """Function words, which every vocabulary holds."""
        return tuple(word for word in self.words if word.is_function)


@dataclass(frozen=True)
class Answer:
    """Everything about the answer to one message.

    Args:
        replies: best first, at least one.
        vocabulary: the words that were allowed; the whole vocabulary for a plain model.
        seconds: of the batch that the message was answered in, by stage: ``encode``,
            ``predict``, ``select``, ``search``.
    """

    replies: tuple[Reply, ...]
    vocabulary: AdmittedWords
    seconds: dict[str, float] = field(default_factory=dict)

    @property
    def text(self) -> str:
        """The best reply's text."""
        return self.replies[0].text
