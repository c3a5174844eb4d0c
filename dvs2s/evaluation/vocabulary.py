"""How much of the gold replies a vocabulary T holds, beside a static list of the same size.

The static list is the obvious rival: the words with the lowest ids, since ids run from the fixed
words to the content words by falling frequency. For each pair it is as long as that pair's T.
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Coverage:
    """How much of the gold replies some vocabularies hold; shares from 0 to 1, 0 of nothing.

    Args:
        tokens: share of gold tokens in the vocabulary.
        content_words: share of gold content words, each counted once a pair.
        pairs: share of pairs whose gold words are all in the vocabulary.
    """

    tokens: float
    content_words: float
    pairs: float


@dataclass(frozen=True)
class VocabularyScores:
    """The coverage of T and of the static list of equal size, and what it was measured on.

    Args:
        dynamic: coverage of T.
        static: coverage of the |T| words with the lowest ids.
        mean_size: mean |T|, fixed words included.
        num_pairs: pairs seen; num_tokens: gold tokens; num_content_words: gold content words,
            each counted once a pair.
    """

    dynamic: Coverage
    static: Coverage
    mean_size: float
    num_pairs: int
    num_tokens: int
    num_content_words: int

    def as_metrics(self) -> dict[str, float]:
        """The numbers by the names that reports give them."""
        return {
            "T token recall": self.dynamic.tokens,
            "T content recall": self.dynamic.content_words,
            "T whole-reply recall": self.dynamic.pairs,
            "static token recall": self.static.tokens,
            "static content recall": self.static.content_words,
            "static whole-reply recall": self.static.pairs,
            "mean |T|": self.mean_size,
        }


def vocabulary_recall(
    gold: Sequence[Sequence[int]], vocabularies: Sequence[Collection[int]], *, num_fixed: int
) -> VocabularyScores:
    """The coverage of one vocabulary per pair, pair by pair: plain, and slow for long corpora.

    Args:
        gold: the word ids of each gold reply.
        vocabularies: the different word ids of each T.
        num_fixed: ids below it are special or function words, not content words.

    Raises:
        ValueError: the numbers of gold replies and vocabularies differ.
    """
    if len(gold) != len(vocabularies):
        raise ValueError(
            f"vocabularies must be as many as the {len(gold)} gold replies, got "
            f"{len(vocabularies)}: pass one for each"
        )
    _check_num_fixed(num_fixed)
    chosen = [set(vocabulary) for vocabulary in vocabularies]
    static = [set(range(len(vocabulary))) for vocabulary in chosen]
    content = [{word for word in reply if word >= num_fixed} for reply in gold]
    num_tokens, num_content = sum(map(len, gold)), sum(map(len, content))

    def coverage(held: list[set[int]]) -> Coverage:
        tokens = sum(
            word in words for reply, words in zip(gold, held, strict=True) for word in reply
        )
        contents = sum(len(some & words) for some, words in zip(content, held, strict=True))
        pairs = sum(set(reply) <= words for reply, words in zip(gold, held, strict=True))
        return Coverage(
            _share(tokens, num_tokens), _share(contents, num_content), _share(pairs, len(gold))
        )

    return VocabularyScores(
        dynamic=coverage(chosen),
        static=coverage(static),
        mean_size=_share(sum(map(len, chosen)), len(chosen)),
        num_pairs=len(gold),
        num_tokens=num_tokens,
        num_content_words=num_content,
    )


class VocabularyRecall:
    """The same as `vocabulary_recall`, batch by batch on tensors.

    Args:
        num_words: the number V of words; ids run from 0 to V - 1.
        num_fixed: ids below it are special or function words, not content words.
        unknown: id of the unknown word, which no vocabulary covers; None for none.
        static_ranks: (V,) int64, each word's place in the static list; None for the order of ids.

    Raises:
        ValueError: `num_fixed` is not between 0 and `num_words`, or not V ranks.
    """

    def __init__(
        self,
        *,
        num_words: int,
        num_fixed: int,
        unknown: int | None = None,
        static_ranks: Tensor | None = None,
    ) -> None:
        _check_num_fixed(num_fixed)
        if num_fixed > num_words:
            raise ValueError(
                f"num_fixed must be at most num_words={num_words}, got {num_fixed}: "
                "pass the two numbers of one vocabulary"
            )
        if static_ranks is not None and tuple(static_ranks.shape) != (num_words,):
            raise ValueError(
                f"static_ranks must be ({num_words},), got {tuple(static_ranks.shape)}: "
                "pass the rank of every word"
            )
        self._num_words = num_words
        self._num_fixed = num_fixed
        self._ranks = static_ranks
        self._unknown = -1 if unknown is None else unknown
        self._size = self._num_pairs = self._num_tokens = self._num_content = 0
        self._dynamic = [0, 0, 0]  # tokens, content words, pairs
        self._static = [0, 0, 0]

    def update(self, gold: Tensor, gold_mask: Tensor, membership: Tensor) -> None:
        """Count a batch whose vocabularies are given word by word.

        Args:
            gold: (B, T) integer word ids of the gold replies.
            gold_mask: (B, T) bool, True for the tokens that count.
            membership: (B, V) bool, True for the words in each T.

        Raises:
            ValueError: shapes or types do not fit, or an id is out of range.
        """
        self._check(gold, gold_mask, membership)
        gold = gold.long().masked_fill(~gold_mask, 0)
        sizes = membership.sum(dim=-1)  # (B,)
        self._size += int(sizes.sum())
        self._num_pairs += gold.size(0)
        self._num_tokens += int(gold_mask.sum())
        first = gold_mask & (gold >= self._num_fixed) & _is_first(gold, gold_mask)
        self._num_content += int(first.sum())
        known = gold != self._unknown
        for counts, held in (
            (self._dynamic, membership.gather(-1, gold) & known),
            (self._static, (self._places(gold) < sizes[:, None]) & known),
        ):
            counts[0] += int((held & gold_mask).sum())
            counts[1] += int((held & first).sum())
            counts[2] += int((held | ~gold_mask).all(dim=-1).sum())

    def update_ids(self, gold: Tensor, gold_mask: Tensor, words: Tensor, lengths: Tensor) -> None:
        """Count a batch whose vocabularies are given as lists of word ids.

        Args:
            gold: (B, T) integer word ids of the gold replies.
            gold_mask: (B, T) bool, True for the tokens that count.
            words: (B, K) integer word ids of each T, different ones, padded at the end.
            lengths: (B,) integers, the number |T| of words in each row.

        Raises:
            ValueError: shapes or types do not fit, or an id is out of range.
        """
        if words.dim() != 2 or lengths.shape != words.shape[:1]:
            raise ValueError(
                f"words must be (B, K) and lengths (B,), got {tuple(words.shape)} and "
                f"{tuple(lengths.shape)}: pass one row of ids and one length for each reply"
            )
        real = torch.arange(words.size(1), device=words.device) < lengths[:, None]  # (B, K)
        _check_ids("words", words, real, self._num_words)
        membership = torch.zeros(
            words.size(0), self._num_words + 1, dtype=torch.bool, device=words.device
        )
        # Padding goes to an extra column that is cut off.
        membership.scatter_(-1, words.long().masked_fill(~real, self._num_words), True)
        self.update(gold, gold_mask, membership[:, : self._num_words])

    def pool(self, total: Callable[[Tensor], Tensor]) -> None:
        """Replaces the counts, (10,) int64, by ``total`` of them: sums over processes."""
        own = [self._size, self._num_pairs, self._num_tokens, self._num_content]
        counts = total(torch.tensor([*own, *self._dynamic, *self._static])).tolist()
        self._size, self._num_pairs, self._num_tokens, self._num_content = counts[:4]
        self._dynamic, self._static = counts[4:7], counts[7:]

    def result(self) -> VocabularyScores:
        """The scores of all that has been counted so far."""
        return VocabularyScores(
            dynamic=self._coverage(self._dynamic),
            static=self._coverage(self._static),
            mean_size=_share(self._size, self._num_pairs),
            num_pairs=self._num_pairs,
            num_tokens=self._num_tokens,
            num_content_words=self._num_content,
        )

    def _places(self, gold: Tensor) -> Tensor:
        """(B, T) int64: each word's place in the static list."""
        return gold if self._ranks is None else self._ranks.to(gold.device)[gold]

    def _coverage(self, counts: list[int]) -> Coverage:
        tokens, content, pairs = counts
        return Coverage(
            _share(tokens, self._num_tokens),
            _share(content, self._num_content),
            _share(pairs, self._num_pairs),
        )

    def _check(self, gold: Tensor, gold_mask: Tensor, membership: Tensor) -> None:
        if gold.dim() != 2 or gold_mask.shape != gold.shape or gold_mask.dtype != torch.bool:
            raise ValueError(
                f"gold and gold_mask must be (B, T) integers and bool, got {tuple(gold.shape)} "
                f"{gold.dtype} and {tuple(gold_mask.shape)} {gold_mask.dtype}: pad them alike"
            )
        expected = (gold.size(0), self._num_words)
        if tuple(membership.shape) != expected or membership.dtype != torch.bool:
            raise ValueError(
                f"membership must be bool of shape (B, V) = {expected}, got {membership.dtype} of "
                f"shape {tuple(membership.shape)}: mark every word of the vocabulary"
            )
        _check_ids("gold", gold, gold_mask, self._num_words)


def _is_first(gold: Tensor, mask: Tensor) -> Tensor:
    """(B, T) bool: no earlier token of the row that counts is the same word."""
    length = gold.size(1)
    earlier = torch.ones(length, length, dtype=torch.bool, device=gold.device).tril(-1)
    same = (gold[:, :, None] == gold[:, None, :]) & earlier & mask[:, None, :]  # (B, T, T)
    return ~same.any(dim=-1)


def _check_ids(name: str, ids: Tensor, mask: Tensor, num_words: int) -> None:
    wrong = ids[mask & ((ids < 0) | (ids >= num_words))]
    if wrong.numel():
        raise ValueError(
            f"{name} must hold ids from 0 to {num_words - 1}, got {int(wrong[0])}: "
            "use the vocabulary that the ids were made with"
        )


def _check_num_fixed(num_fixed: int) -> None:
    if num_fixed < 0:
        raise ValueError(
            f"num_fixed must be at least 0, got {num_fixed}: pass the vocabulary's number of "
            "fixed words"
        )


def _share(part: float, whole: float) -> float:
    return part / whole if whole else 0.0
