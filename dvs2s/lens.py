"""The lens: which words of a message brought each admitted word in.

One message word at a time is erased and β is predicted anew; a word was brought in by the message
words without which its β is lowest.

Source: Li, Monroe, Jurafsky 2016, Understanding neural networks through representation erasure.
"""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch

from dvs2s.config import SearchConfig
from dvs2s.data.batch import make_batch
from dvs2s.model import Dvs2sModel
from dvs2s.selection import Selector
from dvs2s.text.specials import SEP, SPECIALS, UNK


@dataclass(frozen=True)
class LensWord:
    """An admitted content word.

    Args:
        word: the word.
        beta: β, in 0..1.
        is_message_word: whether the message holds it.
        drops: for each different word of the message what erasing it takes from the logit of β,
            nats; below 0 where erasing raises β.
    """

    word: str
    beta: float
    is_message_word: bool
    drops: tuple[float, ...]

    @property
    def ranking(self) -> tuple[int, ...]:
        """Places of the message's words, the one whose erasure lowers β most first."""
        return tuple(sorted(range(len(self.drops)), key=lambda i: (-self.drops[i], i)))

    @property
    def brought_in_by(self) -> int | None:
        """Place of the message word whose erasure lowers β most; None if none lowers it."""
        first = next(iter(self.ranking), None)
        return first if first is not None and self.drops[first] > 0 else None

    def beta_without(self, place: int) -> float:
        """Returns β with one of the message's words erased."""
        if self.beta in (0.0, 1.0):
            return self.beta
        logit = math.log(self.beta) - math.log1p(-self.beta) - self.drops[place]
        return 1 / (1 + math.exp(-min(max(logit, -700.0), 700.0)))


@dataclass(frozen=True)
class Lens:
    """What a message's words brought in.

    Args:
        message_words: its different words in their order, each erased wherever it stands; words
            that the vocabulary does not know are one, ``<unk>``.
        words: the admitted content words, likely ones first.
        size: |T|, function words counted and special words not.
        total: V.
    """

    message_words: tuple[str, ...]
    words: tuple[LensWord, ...]
    size: int
    total: int

    def as_dict(self) -> dict[str, Any]:
        """Returns it as plain types, with the best erasure of each word."""
        words = [
            asdict(word)
            | {
                "brought_in_by": None
                if word.brought_in_by is None
                else self.message_words[word.brought_in_by]
            }
            for word in self.words
        ]
        return {
            "message_words": list(self.message_words),
            "size": self.size,
            "total": self.total,
            "words": words,
        }

    def to_text(self) -> str:
        """Returns a table for a terminal: a row a word, its β, and who brought it in."""
        wide = max([len("word"), *(len(word.word) for word in self.words)])
        lines = [f"{'word':{wide}}      β  brought in by (β without it)"]
        for word in self.words:
            best = [place for place in word.ranking[:3] if word.drops[place] > 0]
            by = ", ".join(
                f"{self.message_words[place]} ({word.beta_without(place):.3f})" for place in best
            )
            mark = "*" if word.is_message_word else " "
            lines.append(f"{word.word:{wide}}{mark} {word.beta:.3f}  {by or '-'}")
        admitted = f"{self.size:,} of {self.total:,} words are admitted"
        return "\n".join([*lines, f"{admitted}; * stands in the message"])


def erasures(ids: Sequence[int]) -> tuple[list[int], list[list[int]]]:
    """Returns the different words of a message, and the message without each of them.

    Args:
        ids: of the message; borders between turns are kept.
    """
    words = [word for word in dict.fromkeys(ids) if word != SEP]
    return words, [[i for i in ids if i != word] for word in words]


@torch.inference_mode()
def look(
    model: Dvs2sModel,
    selector: Selector,
    search: SearchConfig,
    ids: Sequence[int],
    *,
    limit: int | None = None,
) -> Lens:
    """Returns the lens on one message, from one batch: the message and each erasure of it.

    Args:
        model: with a trained word predictor, in eval mode.
        selector: chooses T.
        search: how T is chosen.
        ids: of the message.
        limit: admitted words, at most, likely ones first; None for all.

    Raises:
        ValueError: a limit below 0.
    """
    if limit is not None and limit < 0:
        raise ValueError(f"limit must be at least 0, got {limit}: pass None for all words")
    ids = list(ids) or [UNK]
    erased, without = erasures(ids)
    rows = [np.asarray(row, dtype=np.int64) for row in [ids, *without]]
    device = next(model.parameters()).device
    batch = make_batch(rows, None, range(len(rows))).to(device)
    log_odds = model.word_predictor.logits(batch.messages, batch.message_mask).float()
    admitted = selector(search, log_odds[:1], batch.messages[:1]).row(0)
    vocabulary, fixed = selector.vocabulary, selector.vocabulary.num_fixed
    odds = log_odds.double().cpu()
    content = torch.tensor([i for i in admitted if i >= fixed], dtype=torch.int64)
    likely = odds[0, content - fixed].sort(descending=True, stable=True).indices
    content = content[likely[:limit]]
    own = odds[:, content - fixed]  # (1 + erased, words)
    words = tuple(
        LensWord(vocabulary.word(i), float(logit.sigmoid()), i in ids, tuple(drops.tolist()))
        for i, logit, drops in zip(content.tolist(), own[0], (own[:1] - own[1:]).T, strict=True)
    )
    names = tuple(vocabulary.word(i) for i in erased)
    return Lens(names, words, len(admitted) - len(SPECIALS), len(vocabulary))
