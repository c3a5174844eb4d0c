"""What a backend decoded, as words and texts."""

from collections.abc import Mapping

from torch import Tensor

from dvs2s.answer import AdmittedWord, AdmittedWords, Answer, Reply, WordsOnDemand
from dvs2s.decoding.protocol import Hypothesis
from dvs2s.engine.results import Decoded
from dvs2s.text.specials import SPECIALS
from dvs2s.text.tokenizer import Tokenizer
from dvs2s.text.vocabulary import Vocabulary


class Wording:
    """Makes answers of slots.

    Args:
        vocabulary: of the model.
        tokenizer: the vocabulary's.
    """

    def __init__(self, vocabulary: Vocabulary, tokenizer: Tokenizer) -> None:
        self._vocabulary, self._tokenizer = vocabulary, tokenizer

    def answer(self, decoded: Decoded, seconds: Mapping[str, float]) -> Answer:
        """Returns one message's answer; ``seconds`` are those of its batch."""
        replies = tuple(self._reply(hypothesis, decoded.words) for hypothesis in decoded.replies)
        return Answer(replies, self._admitted(decoded.words, decoded.log_odds), dict(seconds))

    def _reply(self, hypothesis: Hypothesis, row: list[int]) -> Reply:
        tokens = tuple(self._vocabulary.word(row[slot]) for slot in hypothesis.slots)
        return Reply(
            self._tokenizer.detokenize(tokens),
            tokens,
            hypothesis.score,
            hypothesis.log_prob,
            hypothesis.finished,
        )

    def _admitted(self, row: list[int], log_odds: Tensor) -> AdmittedWords:
        word, fixed = self._vocabulary.word, self._vocabulary.num_fixed

        def listed() -> tuple[AdmittedWord, ...]:
            content = [i for i in row if i >= fixed]
            words = [
                AdmittedWord(word(i), beta, False)
                for i, beta in zip(content, log_odds.sigmoid().tolist(), strict=True)
            ]
            words.sort(key=lambda word: -word.beta)
            functions = [AdmittedWord(word(i), 1.0, True) for i in range(len(SPECIALS), fixed)]
            return tuple(words + functions)

        count = len(row) - len(SPECIALS)  # T holds every special word
        return AdmittedWords(WordsOnDemand(listed, count), len(self._vocabulary))
