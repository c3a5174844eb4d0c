"""What a precision costs: how often replies change against float32, and what the metrics lose."""

import os.path
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from dvs2s.answer import Answer
from dvs2s.config import SearchConfig
from dvs2s.data.batch import make_batch
from dvs2s.data.corpus import PairCorpus
from dvs2s.evaluation.bleu import bleu
from dvs2s.evaluation.diversity import diversity
from dvs2s.responder import Responder
from dvs2s.scoring import grouped

PRESETS = {"smoke": 20, "full": 1_000}
"""Different messages of the split, from its start."""

REFERENCE = "fp32"
SEARCHES = ("greedy", "beam")


@dataclass(frozen=True)
class _Case:
    """A message's ids, and its responses as words."""

    ids: Any
    references: list[list[str]]


def run(
    responders: Mapping[str, Responder],
    corpus: PairCorpus,
    *,
    messages: int,
    search: SearchConfig,
    batch_size: int = 32,
    advance: Callable[[int], object] = lambda done: None,
) -> dict[str, Any]:
    """Returns a row for every precision and search.

    Args:
        responders: of one checkpoint, by precision; ``fp32`` among them.
        corpus: whose messages are answered.
        messages: different ones, from the start.
        search: beam, |T| and limits; greedy search takes its vocabulary and lengths, too.
        batch_size: messages at a time.
        advance: told how many messages are answered, for a progress bar.

    Returns:
        ``messages``, and ``rows``: ``precision``, ``search``, ``same_tokens`` (share of places
        with the same word, over the longer reply), ``same_choices`` (share of the same words
        after the same words: what comes behind a first difference is not asked),
        ``same_replies``, ``same_words`` (share of T),
        ``gold_words`` (share of the responses' words that T holds), ``metrics``.

    Raises:
        ValueError: no ``fp32``.
    """
    if REFERENCE not in responders:
        raise ValueError(f"responders must hold {REFERENCE!r}, got {list(responders)}: add it")
    decode = responders[REFERENCE].vocabulary.decode
    cases = [
        _Case(corpus.message(group[0]), [decode(corpus.response(i).tolist()) for i in group])
        for group in grouped(corpus, len(corpus))[:messages]
    ]
    rows = []
    for kind in SEARCHES:
        found = {}
        for precision, responder in responders.items():
            config = responder.search_config(
                **vars(search) | {"kind": kind, "num_best": 1},
            )
            found[precision] = list(_answers(responder, cases, config, batch_size, advance))
        rows += [
            {"precision": precision, "search": kind} | _measures(answers, found[REFERENCE], cases)
            for precision, answers in found.items()
        ]
    return {"messages": len(cases), "rows": rows}


def table(report: dict[str, Any]) -> str:
    """Returns the report as lines for people, with the differences from float32 in brackets."""
    names = list(report["rows"][0]["metrics"])
    head = [
        "",
        "same words, %",
        "same choices, %",
        "same replies, %",
        "T kept, %",
        "gold in T, %",
        *names,
    ]
    lines = [f"{report['messages']} messages", "  ".join(f"{name:>16}" for name in head)]
    base = {row["search"]: row for row in report["rows"] if row["precision"] == REFERENCE}
    for row in report["rows"]:
        shares = ("same_tokens", "same_choices", "same_replies", "same_words", "gold_words")
        cells = [f"{row['search']} {row['precision']}"]
        cells += [f"{100 * row[name]:.2f}" for name in shares]
        reference = base[row["search"]]["metrics"]
        cells += [
            f"{value:.3f} ({value - reference[name]:+.3f})"
            for name, value in row["metrics"].items()
        ]
        lines.append("  ".join(f"{cell:>16}" for cell in cells))
    return "\n".join(lines)


def _answers(
    responder: Responder,
    cases: list[_Case],
    search: SearchConfig,
    batch_size: int,
    advance: Callable[[int], object],
) -> Iterator[Answer]:
    for first in range(0, len(cases), batch_size):
        part = [case.ids for case in cases[first : first + batch_size]]
        batch = make_batch(part, None, range(len(part))).to(responder.device)
        yield from responder.answers_to_batch(batch, search)
        advance(len(part))


def _measures(answers: list[Answer], reference: list[Answer], cases: list[_Case]) -> dict[str, Any]:
    places = equal = alike = replies = words = kept = gold = held = 0
    for mine, theirs, case in zip(answers, reference, cases, strict=True):
        a, b = mine.replies[0].tokens, theirs.replies[0].tokens
        places += max(len(a), len(b))
        equal += sum(x == y for x, y in zip(a, b, strict=False))
        alike += len(os.path.commonprefix([a, b]))
        replies += a == b
        admitted = {word.word for word in mine.vocabulary}
        other = {word.word for word in theirs.vocabulary}
        words += len(other)
        kept += len(admitted & other)
        said = [word for one in case.references for word in one]
        gold += len(said)
        held += sum(word in admitted for word in said)
    texts = [list(answer.replies[0].tokens) for answer in answers]
    scores = bleu(texts, [case.references for case in cases])
    return {
        "same_tokens": equal / max(places, 1),
        # a choice more for every reply: its end, or where it parts
        "same_choices": (alike + replies) / max(alike + len(answers), 1),
        "same_replies": replies / max(len(answers), 1),
        "same_words": kept / max(words, 1),
        "gold_words": held / max(gold, 1),
        "metrics": scores.as_metrics() | diversity(texts).as_metrics(),
    }
