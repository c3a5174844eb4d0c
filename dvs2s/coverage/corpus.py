"""The needs of a corpus's pairs, and what calibrated vocabularies hold of another split."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dvs2s.config import SearchConfig
from dvs2s.coverage.calibration import Level
from dvs2s.coverage.needs import Needs, batch_needs, joined
from dvs2s.data.batch import Batch, make_batch
from dvs2s.data.corpus import PairCorpus
from dvs2s.responder import Responder

Advance = Callable[[int], object]
_ROWS = 64
QUANTILES = (0.0, 0.05, 0.25, 0.5, 0.75, 0.95, 1.0)


def find_needs(
    responder: Responder, corpus: PairCorpus, *, advance: Advance = lambda pairs: None
) -> dict[bool, Needs]:
    """Returns the needs of every pair, with the message's own words in T (True) and without.

    Args:
        responder: its word predictor is asked; replies are not made.
        corpus: held-out pairs, of the responder's vocabulary.
        advance: told how many pairs are done.

    Raises:
        ValueError: a model without word prediction, or no pairs.
    """
    if not responder.has_word_predictor:
        raise ValueError(
            "responder has no word predictor, so there is nothing to calibrate: use a model "
            "trained with objective=dvs2s, s_dvs2s or words"
        )
    if not len(corpus):
        raise ValueError("corpus must hold at least one pair, got none: calibrate on another split")
    parts: dict[bool, list[Needs]] = {True: [], False: []}
    for batch, log_odds in _batches(responder, corpus, advance):
        for message_words, found in parts.items():
            found.append(
                batch_needs(
                    log_odds,
                    batch.messages,
                    batch.responses,
                    num_fixed=responder.vocabulary.num_fixed,
                    message_words=message_words,
                )
            )
    return {message_words: joined(found) for message_words, found in parts.items()}


@dataclass(frozen=True)
class Achieved:
    """What T held of the gold words of a split, at one level.

    Args:
        level: the guarantee.
        rule: "threshold" or "size".
        held: (n,) float64, share of each pair's gold words in T; 1 for a pair without.
        sizes: (n,) int64, |T|.
    """

    level: Level
    rule: str
    held: NDArray[np.float64]
    sizes: NDArray[np.int64]

    @property
    def coverage(self) -> float:
        """What the level guarantees to be 1 - alpha at least, as it came out."""
        return float(self._hits.mean())

    @property
    def _hits(self) -> NDArray[np.float64]:
        whole = np.asarray(self.held == 1.0, dtype=np.float64)
        return whole if self.level.kind == "all" else self.held

    def by_third(self, sizes: NDArray[np.int64]) -> list[float]:
        """Returns the coverage of the pairs with the smallest, middle and greatest ``sizes``.

        Args:
            sizes: (n,) |T| of each pair, of this or another way to choose T.
        """
        thirds = np.array_split(np.argsort(sizes, kind="stable"), 3)
        return [float(self._hits[third].mean()) for third in thirds if len(third)]

    def as_dict(self) -> dict[str, object]:
        """Returns the figures as plain types."""
        return {
            "alpha": self.level.alpha,
            "kind": self.level.kind,
            "rule": self.rule,
            "message_words": self.level.message_words,
            "nominal": 1 - self.level.alpha,
            "achieved": self.coverage,
            "share of gold words": float(self.held.mean()),
            "mean |T|": float(self.sizes.mean()),
            "|T| quantiles": {
                f"{q:g}": float(v)
                for q, v in zip(QUANTILES, np.quantile(self.sizes, QUANTILES), strict=True)
            },
        }


def measure(
    responder: Responder,
    corpus: PairCorpus,
    levels: Sequence[Level],
    *,
    rules: Sequence[str] = ("threshold", "size"),
    advance: Advance = lambda pairs: None,
) -> list[Achieved]:
    """Returns what the vocabularies of some levels hold of a corpus that they never saw.

    T is made by the responder's own selector, as for a reply.

    Args:
        responder: of the levels.
        corpus: pairs that had no part in the calibration.
        levels: to measure.
        rules: ways to choose T at each level.
        advance: told how many pairs are done.
    """
    cases = [(level, rule) for level in levels for rule in rules]
    held: list[list[Tensor]] = [[] for _ in cases]
    sizes: list[list[Tensor]] = [[] for _ in cases]
    fixed = responder.vocabulary.num_fixed
    for batch, log_odds in _batches(responder, corpus, advance):
        gold = torch.zeros(len(batch), len(responder.vocabulary), dtype=torch.bool)
        gold = gold.to(log_odds.device).scatter_(1, batch.responses, True)
        gold[:, :fixed] = False
        count = gold.sum(1)
        for case, (level, rule) in enumerate(cases):
            search = searching(responder.config.search, level, rule)
            vocab = responder.selector(search, log_odds, batch.messages)
            inside = (gold & vocab.membership()).sum(1)
            share = torch.where(count > 0, inside.double() / count.clamp_min(1), 1.0)
            held[case].append(share.cpu())
            sizes[case].append(vocab.lengths.cpu())
    return [
        Achieved(level, rule, torch.cat(some).numpy(), torch.cat(lengths).numpy())
        for (level, rule), some, lengths in zip(cases, held, sizes, strict=True)
    ]


def figures(found: Sequence[Achieved]) -> list[dict[str, object]]:
    """Returns the figures of some levels, with coverage by thirds of the threshold's |T|.

    The thirds are the same for a level's threshold and size, so that the two can be compared.
    """
    sizes = {one.level: one.sizes for one in found if one.rule == "threshold"}
    return [
        one.as_dict() | {"coverage by third of |T|": one.by_third(sizes[one.level])}
        if one.level in sizes
        else one.as_dict()
        for one in found
    ]


def searching(search: SearchConfig, level: Level, rule: str) -> SearchConfig:
    """Returns the settings with T chosen as a level says."""
    return replace(
        search,
        vocabulary="conformal",
        alpha=0.0,
        coverage_alpha=level.alpha,
        coverage_of=level.kind,
        coverage_by=rule,
        message_words=level.message_words,
    )


@torch.inference_mode()
def _batches(
    responder: Responder, corpus: PairCorpus, advance: Advance
) -> Iterator[tuple[Batch, Tensor]]:
    """Yields the pairs in their order with the logits of β."""
    for first in range(0, len(corpus), _ROWS):
        chosen = range(first, min(first + _ROWS, len(corpus)))
        pairs = [corpus.message(i) for i in chosen], [corpus.response(i) for i in chosen]
        batch = make_batch(*pairs, chosen).to(responder.device)
        predictor = responder.model.word_predictor
        yield batch, predictor.logits(batch.messages, batch.message_mask).float()
        advance(len(batch))
