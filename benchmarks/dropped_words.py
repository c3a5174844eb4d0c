"""What choosing a vocabulary loses, by kind of word and by |T|, and what replies make of it.

For every run and every |T|, on one split: which share of the responses' words T holds, and the
perplexity of those that it holds: over T, over T with every word's exp(score) weighed by its β, and
over the full vocabulary; words apart by kind. Then replies, greedy or sampled: BLEU, diversity, and
their perplexity under another model that scores all words, the judge: it rises when a decoder talks
nonsense.

Kinds: *rare* words are content words of fewer than 20 training responses; *named* ones stand
capitalised in the middle of the raw training sentences nine times of ten; *echoed* ones are content
words that the message holds, too.

    python benchmarks/dropped_words.py --runs RUN [RUN ...] --judge RUN --data PREPARED
        --raw FILE [FILE ...] --out results [--sizes 250 500 1000] [--pairs 600] [--messages 400]

Writes ``<out>.json`` and prints the tables.
"""

import argparse
import json
import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from dvs2s import load
from dvs2s.bench.timing import environment
from dvs2s.config import SearchConfig
from dvs2s.data.batch import Batch, make_batch
from dvs2s.data.corpus import PreparedData
from dvs2s.decoding.search import search
from dvs2s.decoding.session import Session
from dvs2s.evaluation.bleu import bleu
from dvs2s.evaluation.diversity import diversity
from dvs2s.objectives.closed_form import log_weights
from dvs2s.responder import Responder
from dvs2s.scoring import grouped
from dvs2s.text.tokenizer import get_tokenizer
from dvs2s.text.vocabulary import Vocabulary

_RARE = 20
_ENDS = {".", "!", "?", "__eou__", '"', ":", "..."}


@dataclass
class Sums:
    """Of one kind of word under one vocabulary."""

    words: int = 0
    inside: int = 0
    over_t: float = 0.0
    weighed: float = 0.0
    over_v: float = 0.0

    def row(self) -> dict[str, float]:
        """Returns recall, and perplexities of the words inside of T."""
        held = max(self.inside, 1)
        return {
            "words": self.words,
            "recall": self.inside / max(self.words, 1),
            "perplexity over T": math.exp(min(self.over_t / held, 80)),
            "perplexity over T, weighed": math.exp(min(self.weighed / held, 80)),
            "perplexity over V": math.exp(min(self.over_v / held, 80)),
        }


@dataclass
class Study:
    """One run: its sums by setting and kind, and the full-vocabulary nats."""

    sums: dict[str, dict[str, Sums]] = field(default_factory=dict)

    def add(self, setting: str, kinds: dict[str, Tensor], losses: Sequence[Tensor]) -> None:
        """Adds a batch: losses (B, T) over T, weighed, over V; inf where T lacks the word."""
        over_t, weighed, full = losses
        inside = over_t.isfinite()
        for kind, mask in kinds.items():
            here = self.sums.setdefault(setting, {}).setdefault(kind, Sums())
            both = mask & inside
            here.words += int(mask.sum())
            here.inside += int(both.sum())
            here.over_t += float(over_t[both].double().sum())
            here.weighed += float(weighed[both].double().sum())
            here.over_v += float(full[both].double().sum())


def names(raw: Sequence[Path], vocabulary: Vocabulary) -> Tensor:
    """Returns (V,) bool: words that are capitalised where no sentence begins."""
    capital: Counter[str] = Counter()
    seen: Counter[str] = Counter()
    tokenizer = get_tokenizer(vocabulary.tokenizer)
    for path in raw:
        for line in path.open(encoding="utf-8"):
            tokens = line.split()
            for before, token in zip(tokens, tokens[1:], strict=False):
                if before in _ENDS or not token.isalpha():
                    continue
                word = " ".join(tokenizer.tokenize(token))
                seen[word] += 1
                capital[word] += token[0].isupper()
    named = [w for w, n in seen.items() if n >= 2 and capital[w] >= 0.9 * n]
    chosen = torch.zeros(len(vocabulary), dtype=torch.bool)
    chosen[[i for i in vocabulary.encode(named) if i >= vocabulary.num_fixed]] = True
    return chosen


@dataclass(frozen=True)
class Split:
    """The pairs that are measured, and which words are rare or named."""

    data: PreparedData
    name: str
    named: Tensor
    pairs: int
    messages: int
    search: str
    weighed: bool

    def batches(self, size: int = 32) -> Iterator[Batch]:
        """Yields pairs spread evenly over the split, of like length together."""
        corpus = self.data.split(self.name)
        count = min(self.pairs, len(corpus))
        places = [i * len(corpus) // count for i in range(count)]
        places.sort(key=lambda i: len(corpus.response(i)))
        for first in range(0, count, size):
            chosen = places[first : first + size]
            yield make_batch(
                [corpus.message(i) for i in chosen], [corpus.response(i) for i in chosen], chosen
            )

    def kinds(self, batch: Batch) -> dict[str, Tensor]:
        """Returns which response words (B, T) are of each kind; the end of sentence is none."""
        fixed = self.data.vocabulary.num_fixed
        counts = torch.from_numpy(self.data.response_counts.copy())
        words = batch.responses
        mask = batch.response_mask & (words >= 5)
        content = mask & (words >= fixed)
        echoed = (words[:, :, None] == batch.messages[:, None]).any(-1)
        return {
            "all": mask,
            "content": content,
            "rare": content & (counts[words] < _RARE),
            "named": content & self.named[words],
            "echoed": content & echoed,
        }


def settings(search: SearchConfig, sizes: Sequence[int]) -> dict[str, SearchConfig]:
    """Returns the ways to choose T: every size, with and without the message's own words."""
    found = {}
    for size in sizes:
        for own in (True, False):
            name = f"{size}" if own else f"{size}, no message words"
            options = vars(search) | {"vocabulary": "size", "size": size, "message_words": own}
            found[name] = SearchConfig(**options)
    return found


@torch.inference_mode()
def likelihoods(responder: Responder, split: Split, sizes: Sequence[int]) -> dict[str, Any]:
    """Returns recall and perplexities by setting and kind of word."""
    model, study = responder.model, Study()
    ways = settings(responder.config.search, sizes)
    for batch in split.batches():
        encoded = model.encode(batch.messages, batch.message_lengths)
        hidden, odds = model.unroll(encoded, batch.responses), model.predict_words(encoded)
        chosen = [responder.selector(way, odds, batch.messages) for way in ways.values()]
        member = torch.stack([c.membership() for c in chosen] + [chosen[0].membership() | True], 1)
        count = member.shape[1]
        plain = torch.zeros_like(member, dtype=hidden.dtype).masked_fill_(~member, -torch.inf)
        beta = log_weights(odds, torch.zeros_like(member[:, 0]))  # (B, 1, V)
        both = torch.cat([plain, plain + beta], dim=1)
        losses = model.output.weighted_losses(hidden, both, batch.responses)  # (B, 2 · count, T)
        words = batch.responses[:, None].expand(-1, count, -1)
        losses[:, count:] -= beta.expand(-1, count, -1).gather(2, words)
        losses[:, :count].masked_fill_(~member.gather(2, words), torch.inf)
        kinds = split.kinds(batch)
        for place, name in enumerate([*ways, "full"]):
            of = (losses[:, place], losses[:, count + place], losses[:, count - 1])
            study.add(name, kinds, of)
    return {s: {k: v.row() for k, v in kinds.items()} for s, kinds in study.sums.items()}


@torch.inference_mode()
def replies(
    responder: Responder, judge: Responder, split: Split, sizes: Sequence[int]
) -> dict[str, Any]:
    """Returns the measures of replies by setting."""
    corpus = split.data.split(split.name)
    groups = grouped(corpus, len(corpus))
    count = min(split.messages, len(groups))
    groups = [groups[i * len(groups) // count] for i in range(count)]
    decode = responder.vocabulary.decode
    references = [[decode(corpus.response(i).tolist()) for i in group] for group in groups]
    common = vars(responder.config.search) | {"kind": split.search, "num_best": 1, "max_length": 25}
    ways = {
        name: SearchConfig(**(vars(way) | {"kind": split.search, "num_best": 1, "max_length": 25}))
        for name, way in settings(responder.config.search, sizes).items()
        if "no message" not in name
    }
    ways["full"] = SearchConfig(**(common | {"vocabulary": "full"}))
    said: dict[str, list[tuple[str, ...]]] = {}
    for name, way in ways.items():
        for weighed in (False, True)[: 1 + split.weighed]:
            own = f"{name}, weighed" if weighed else name
            firsts = [g[0] for g in groups]
            said[own] = _answers(responder, corpus, firsts, way, weighed=weighed)
    rows = {}
    for name, texts in said.items():
        lists = [list(t) for t in texts]
        row = bleu(lists, references).as_metrics() | diversity(lists).as_metrics()
        row["perplexity under the judge"] = _judged(judge, corpus, [g[0] for g in groups], lists)
        row["as with the full vocabulary"] = sum(
            a == b for a, b in zip(texts, said["full"], strict=True)
        ) / len(texts)
        rows[name] = row
    return rows


class Weighed(Session):
    """A session in which a word's exp(score) is multiplied by its β, as the bounds train it."""

    log_beta: Tensor

    def _rows(self) -> tuple[Tensor, Tensor]:
        projection, ids = self.model.output.projection, self.vocab.ids
        bias = projection.bias[ids] + self.log_beta.gather(1, ids)
        return projection.weight[ids], bias.masked_fill(~self.vocab.keep, -torch.inf)


def _answers(
    responder: Responder,
    corpus: Any,
    places: Sequence[int],
    way: SearchConfig,
    *,
    weighed: bool,
) -> list[tuple[str, ...]]:
    model, size = responder.model, 8 if way.vocabulary == "full" else 32
    order = sorted(range(len(places)), key=lambda i: len(corpus.message(places[i])))
    found: dict[int, tuple[str, ...]] = {}
    for first in range(0, len(order), size):
        chosen = order[first : first + size]
        batch = make_batch([corpus.message(places[i]) for i in chosen], None, chosen)
        encoded = model.encode(batch.messages, batch.message_lengths)
        odds = model.predict_words(encoded)
        vocab = responder.selector(way, odds, batch.messages)
        session = Weighed(model, encoded, vocab) if weighed else Session(model, encoded, vocab)
        if isinstance(session, Weighed):
            none = torch.zeros(len(batch), len(responder.vocabulary), dtype=torch.bool)
            session.log_beta = log_weights(odds, none)[:, 0]
        for row, hypotheses in enumerate(search(session, way.options())):
            ids = [vocab.row(row)[slot] for slot in hypotheses[0].slots]
            found[chosen[row]] = tuple(responder.vocabulary.decode(ids))
    return [found[i] for i in range(len(places))]


def _judged(
    judge: Responder, corpus: Any, places: Sequence[int], texts: Sequence[list[str]]
) -> float:
    """Returns the perplexity of the replies, end of sentence included, over all words."""
    nats, words = 0.0, 0
    for first in range(0, len(places), 32):
        part = slice(first, first + 32)
        ids = [torch.tensor(judge.vocabulary.encode(t)).numpy() for t in texts[part]]
        batch = make_batch([corpus.message(i) for i in places[part]], ids, places[part])
        encoded = judge.model.encode(batch.messages, batch.message_lengths)
        hidden = judge.model.unroll(encoded, batch.responses)
        every = torch.ones(len(batch), 1, len(judge.vocabulary), dtype=torch.bool)
        losses = judge.model.output.losses(hidden, every, batch.responses)[:, 0]
        nats += float(losses[batch.response_mask].double().sum())
        words += batch.num_tokens
    return math.exp(min(nats / words, 80))


def main() -> None:
    """Measures every run and writes what was found after each."""
    options = _parser().parse_args()
    torch.set_num_threads(1)
    data, judge = PreparedData.open(Path(options.data)), load(options.judge)
    named = names([Path(p) for p in options.raw], data.vocabulary)
    effort = (options.pairs, options.messages, options.search, not options.plain)
    split = Split(data, options.split, named, *effort)
    report: dict[str, Any] = {"environment": environment(), "options": vars(options), "runs": {}}
    for run in tqdm(options.runs, desc="runs"):
        responder = load(run)
        found = {"by kind": likelihoods(responder, split, options.sizes)}
        found["replies"] = replies(responder, judge, split, options.sizes)
        report["runs"][Path(run).name] = found
        Path(f"{options.out}.json").write_text(json.dumps(report, indent=1) + "\n")
    print(tables(report))


def tables(report: dict[str, Any]) -> str:
    """Returns the report as Markdown."""
    lines = [
        "| run | T | kind of word | words | in T | ppl over T | weighed by β | over V, same words |"
    ]
    lines.append("|---|---|---|" + "---:|" * 5)
    for run, found in report["runs"].items():
        for setting, kinds in found["by kind"].items():
            for kind, row in kinds.items():
                lines.append(
                    f"| {run} | {setting} | {kind} | {row['words']} | {row['recall']:.1%} "
                    f"| {row['perplexity over T']:.1f} | {row['perplexity over T, weighed']:.1f} "
                    f"| {row['perplexity over V']:.1f} |"
                )
    shown = ["BLEU-2", "distinct-2 (per token)", "unique replies", "generic share"]
    shown += ["mean length", "perplexity under the judge", "as with the full vocabulary"]
    lines += ["", "| run | T | " + " | ".join(shown) + " |", "|---|---|" + "---:|" * len(shown)]
    for run, found in report["runs"].items():
        for setting, row in found["replies"].items():
            lines.append(
                f"| {run} | {setting} | " + " | ".join(f"{row[s]:.3f}" for s in shown) + " |"
            )
    return "\n".join(lines)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", nargs="+", required=True)
    parser.add_argument("--judge", required=True, help="a run that scores the full vocabulary")
    parser.add_argument("--data", required=True, help="the prepared corpus")
    parser.add_argument("--raw", nargs="*", default=[], help="raw training text, with capitals")
    parser.add_argument("--out", required=True)
    parser.add_argument("--sizes", nargs="+", type=int, default=[250, 500, 1000])
    parser.add_argument("--split", default="valid")
    parser.add_argument("--pairs", type=int, default=600)
    parser.add_argument("--messages", type=int, default=400)
    parser.add_argument("--search", default="greedy", choices=("greedy", "sampling"))
    parser.add_argument("--plain", action="store_true", help="no replies weighed by β")
    return parser


if __name__ == "__main__":
    main()
