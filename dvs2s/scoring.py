"""Scores a responder on a split of a prepared corpus."""

import math
from collections.abc import Callable, Iterator, Sequence
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
from dvs2s.parallel.group import SOLO, Group
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
        replies: for each message the words of the best reply.
    """

    report: Report
    messages: list[str]
    references: list[list[list[str]]]
    replies: list[list[str]]


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
    group: Group = SOLO,
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
        group: workers that all call this and share the batches out; each gets the whole result,
            the bits of which do not depend on their number (but for the time a reply).

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
    metrics = likelihood(responder, data, corpus, count, search, batch_size, advance, group)
    firsts = [group[0] for group in places]
    replies, seconds = _replies(responder, corpus, firsts, search, batch_size, advance, group)
    decode = responder.vocabulary.decode
    references = [[decode(corpus.response(i).tolist()) for i in group] for group in places]
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
    return Scored(report, messages, references, replies)


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
) -> list[Answer]:
    """Returns the answers in the order of ``places``."""
    answers: dict[int, Answer] = {}
    for chosen, found in _answered(responder, corpus, places, search, batch_size, SOLO):
        answers.update(zip(chosen, found, strict=True))
        advance(len(chosen))
    return [answers[i] for i in range(len(places))]


def _replies(
    responder: Responder,
    corpus: PairCorpus,
    places: Sequence[int],
    search: SearchConfig,
    batch_size: int,
    advance: Advance,
    group: Group,
) -> tuple[list[list[str]], float]:
    """Returns the best replies in the order of ``places``, and the seconds that all took."""
    replies: list[tuple[int, list[str]]] = []
    seconds = 0.0
    for chosen, found in _answered(responder, corpus, places, search, batch_size, group):
        best = [list(answer.replies[0].tokens) for answer in found]
        replies += zip(chosen, best, strict=True)
        seconds += sum(found[0].seconds.values())  # of the whole batch; text is made outside
        advance(len(chosen))
    everybody = group.gather([replies, seconds])
    ordered = sorted(reply for share, _ in everybody for reply in share)
    return [reply for _, reply in ordered], sum(took for _, took in everybody)


def _answered(
    responder: Responder,
    corpus: PairCorpus,
    places: Sequence[int],
    search: SearchConfig,
    batch_size: int,
    group: Group,
) -> Iterator[tuple[list[int], list[Answer]]]:
    """Answers this worker's batches of messages of about one length."""
    by_length = sorted(range(len(places)), key=lambda i: len(corpus.message(places[i])))
    for first in group.mine(range(0, len(by_length), batch_size)):
        chosen = by_length[first : first + batch_size]
        messages = [corpus.message(places[i]) for i in chosen]
        batch = make_batch(messages, None, chosen).to(responder.device)
        # the seed is the place, so that a sample does not depend on the batch size
        yield chosen, responder.answers_to_batch(batch, search, input_seeds=chosen)


@torch.inference_mode()
def likelihood(
    responder: Responder,
    data: PreparedData,
    corpus: PairCorpus,
    count: int,
    search: SearchConfig,
    batch_size: int,
    advance: Advance,
    group: Group = SOLO,
) -> dict[str, float]:
    """Returns perplexities over V and over T, and how much of the responses T holds."""
    recall = new_recall(data)
    own: list[tuple[int, _Sums]] = []
    order = sorted(range(count), key=lambda i: len(corpus.response(i)))
    for first in group.mine(range(0, count, batch_size)):
        chosen = order[first : first + batch_size]
        pairs = [corpus.message(i) for i in chosen], [corpus.response(i) for i in chosen]
        batch = make_batch(*pairs, chosen).to(responder.device)
        sums, vocab = _measure(responder, batch, search)
        own.append((first, sums))
        count_recall(recall, batch, vocab)
        advance(len(chosen))
    recall.pool(group.total)
    # added in one order, so that the number of workers moves no bit
    shared = sorted(entry for share in group.gather(own) for entry in share)
    full, dynamic, words, inside = map(sum, zip(*(sums for _, sums in shared), strict=True))
    metrics = {"perplexity over V": _perplexity(full, words)}
    if search.vocabulary != "full":
        metrics["perplexity over T, of words in T"] = _perplexity(dynamic, inside)
        metrics |= recall.result().as_metrics()
    return metrics


# of a batch: nats over V and over T, words, words in T
_Sums = tuple[float, float, int, int]


def _measure(
    responder: Responder, batch: Batch, search: SearchConfig
) -> tuple[_Sums, DynamicVocab]:
    """Returns what a batch adds, and its vocabularies."""
    model = responder.model
    encoded = model.encode(batch.messages, batch.message_lengths)
    hidden = model.unroll(encoded, batch.responses)
    vocab = responder.selector(search, responder.log_odds(encoded, search), batch.messages)
    member = vocab.membership()
    inside = member.gather(1, batch.responses) & batch.response_mask  # (B, T)
    both = torch.stack([torch.ones_like(member), member], dim=1)  # (B, 2, V)
    losses = model.losses(hidden, encoded, both, batch.responses)  # (B, 2, T)
    full = float(losses[:, 0][batch.response_mask].double().sum())
    dynamic = float(losses[:, 1][inside].double().sum())
    return (full, dynamic, batch.num_tokens, int(inside.sum())), vocab


def _perplexity(nats: float, words: int) -> float:
    """Returns e to the mean nats a word; capped at e^80 so that a report stays finite."""
    return math.exp(min(nats / max(words, 1), 80.0))


def _describe(search: SearchConfig) -> str:
    size = {"size": f"|T| = {search.size}", "threshold": f"β ≥ {search.threshold:g}"}
    size |= {kind: f"{kind} shortlist, |T| = {search.size}" for kind in SHORTLISTS}
    size["conformal"] = f"conformal, α = {search.coverage_alpha:g} of {search.coverage_of}"
    words = size.get(search.vocabulary, "full vocabulary")
    kind = f"{search.kind} {search.beam}" if "beam" in search.kind else search.kind
    bound = f", generic ≤ {search.generic_share:g}" if search.generic_share < 1 else ""
    return f"{kind}, {words}{bound}"
