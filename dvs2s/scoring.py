"""Scores a responder on a split of a prepared corpus."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from dvs2s.answer import Answer
from dvs2s.config import SHORTLISTS, SearchConfig
from dvs2s.data.batch import Batch, make_batch
from dvs2s.data.corpus import PairCorpus, PreparedData
from dvs2s.dynamic_vocab import DynamicVocab
from dvs2s.errors import DataError
from dvs2s.evaluation.bleu import bleu
from dvs2s.evaluation.diversity import diversity
from dvs2s.evaluation.report import Report
from dvs2s.responder import Responder
from dvs2s.validation import count_recall, new_recall

Advance = Callable[[int], object]

PAPER_NAMES = {
    "cross_entropy": "S2SA",
    "cvae": "CVAE",
    "ta_s2s": "TA-S2S",
    "separate": "S-DVS2S",
    "joint": "DVS2S",
    "words": "words",
}
"""What the paper calls the models of each ``objective.kind``."""


@dataclass(frozen=True)
class Scored:
    """A report and what it was made from.

    Args:
        report: the numbers.
        messages: each different message of the split once, as text.
        references: for each message its responses, as words.
        answers: one for each message.
    """

    report: Report
    messages: list[str]
    references: list[list[list[str]]]
    answers: list[Answer]


def score(
    responder: Responder,
    data: PreparedData,
    *,
    split: str,
    search: SearchConfig,
    name: str = "",
    limit: int = 0,
    batch_size: int = 32,
    advance: Advance = lambda pairs: None,
) -> Scored:
    """Measures likelihood and coverage on every pair, and replies on every different message.

    Args:
        responder: the model.
        data: prepared with the responder's vocabulary.
        split: train, valid or test.
        search: how to reply, and which T.
        name: of the report; empty for the model's name in the paper.
        limit: pairs from the start of the split; 0 for all.
        batch_size: messages at a time.
        advance: told how many pairs or messages are done, for a progress bar.

    Raises:
        DataError: the data were prepared with another vocabulary.
    """
    if data.vocabulary.fingerprint != responder.vocabulary.fingerprint:
        raise DataError(
            f"{data.folder} was prepared with another vocabulary than the checkpoint's: "
            f"prepare it with the checkpoint's data options"
        )
    corpus = data.split(split)
    count = min(limit or len(corpus), len(corpus))
    places = grouped(corpus, count)
    metrics = likelihood(responder, data, corpus, count, search, batch_size, advance)
    firsts = [group[0] for group in places]
    answers, seconds = answers_to(responder, corpus, firsts, search, batch_size, advance)
    decode = responder.vocabulary.decode
    references = [[decode(corpus.response(i).tolist()) for i in group] for group in places]
    replies = [list(answer.replies[0].tokens) for answer in answers]
    scores = bleu(replies, references)
    metrics |= scores.as_metrics() | diversity(replies).as_metrics()
    metrics["ms per reply"] = 1000 * seconds / max(len(replies), 1)
    messages = [" ".join(decode(corpus.message(i).tolist())) for i in firsts]
    notes = {
        "BLEU": f"{scores.signature}; words beyond the vocabulary count as wrong",
        "pairs": str(count),
        "search": _describe(search),
    }
    report = Report(
        name or PAPER_NAMES[responder.config.objective.kind], len(replies), metrics, notes
    )
    return Scored(report, messages, references, answers)


def grouped(corpus: PairCorpus, count: int) -> list[list[int]]:
    """Returns the pairs of each different message, in order of appearance."""
    groups: dict[bytes, list[int]] = {}
    for i in range(count):
        groups.setdefault(corpus.message(i).tobytes(), []).append(i)
    return list(groups.values())


def answers_to(
    responder: Responder,
    corpus: PairCorpus,
    places: Sequence[int],
    search: SearchConfig,
    batch_size: int,
    advance: Advance,
) -> tuple[list[Answer], float]:
    """Returns the answers in the order of ``places``, and the seconds they took."""
    by_length = sorted(range(len(places)), key=lambda i: len(corpus.message(places[i])))
    answers: dict[int, Answer] = {}
    seconds = 0.0
    for first in range(0, len(by_length), batch_size):
        chosen = by_length[first : first + batch_size]
        messages = [corpus.message(places[i]) for i in chosen]
        batch = make_batch(messages, None, chosen).to(responder.device)
        # the seed is the place, so that a sample does not depend on the batch size
        found = responder.answers_to_batch(batch, search, input_seeds=chosen)
        answers.update(zip(chosen, found, strict=True))
        seconds += sum(found[0].seconds.values())  # of the whole batch; text is made outside
        advance(len(chosen))
    return [answers[i] for i in range(len(places))], seconds


@torch.inference_mode()
def likelihood(
    responder: Responder,
    data: PreparedData,
    corpus: PairCorpus,
    count: int,
    search: SearchConfig,
    batch_size: int,
    advance: Advance,
) -> dict[str, float]:
    """Returns perplexities over V and over T, and how much of the responses T holds."""
    recall = new_recall(data)
    sums = _Sums()
    order = sorted(range(count), key=lambda i: len(corpus.response(i)))
    for first in range(0, count, batch_size):
        chosen = order[first : first + batch_size]
        pairs = [corpus.message(i) for i in chosen], [corpus.response(i) for i in chosen]
        batch = make_batch(*pairs, chosen).to(responder.device)
        vocab = sums.add(responder, batch, search)
        count_recall(recall, batch, vocab)
        advance(len(chosen))
    metrics = {"perplexity over V": sums.perplexity(over_full=True)}
    if search.vocabulary != "full":
        metrics["perplexity over T, of words in T"] = sums.perplexity(over_full=False)
        metrics |= recall.result().as_metrics()
    return metrics


class _Sums:
    """Nats and words, over V and over T."""

    def __init__(self) -> None:
        self.full, self.dynamic, self.words, self.inside = 0.0, 0.0, 0, 0

    def add(self, responder: Responder, batch: Batch, search: SearchConfig) -> DynamicVocab:
        """Adds a batch and returns its vocabularies."""
        model = responder.model
        encoded = model.encode(batch.messages, batch.message_lengths)
        hidden = model.unroll(encoded, batch.responses)
        vocab = responder.selector(search, responder.log_odds(encoded, search), batch.messages)
        member = vocab.membership()
        inside = member.gather(1, batch.responses) & batch.response_mask  # (B, T)
        both = torch.stack([torch.ones_like(member), member], dim=1)  # (B, 2, V)
        losses = model.losses(hidden, encoded, both, batch.responses)  # (B, 2, T)
        self.full += float(losses[:, 0][batch.response_mask].double().sum())
        self.dynamic += float(losses[:, 1][inside].double().sum())
        self.words += batch.num_tokens
        self.inside += int(inside.sum())
        return vocab

    def perplexity(self, *, over_full: bool) -> float:
        """Returns e to the mean nats a word; capped at e^80 so that a report stays finite."""
        nats, words = (self.full, self.words) if over_full else (self.dynamic, self.inside)
        return math.exp(min(nats / max(words, 1), 80.0))


def _describe(search: SearchConfig) -> str:
    size = {"size": f"|T| = {search.size}", "threshold": f"β ≥ {search.threshold:g}"}
    size |= {kind: f"{kind} shortlist, |T| = {search.size}" for kind in SHORTLISTS}
    size["conformal"] = f"conformal, α = {search.coverage_alpha:g} of {search.coverage_of}"
    words = size.get(search.vocabulary, "full vocabulary")
    kind = f"beam {search.beam}" if search.kind == "beam" else search.kind
    return f"{kind}, {words}"
