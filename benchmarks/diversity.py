"""What diverse beams, reranking and the bound on generic replies do to replies, on one corpus.

    python benchmarks/diversity.py --checkpoint runs/dailydialog --partner runs/language \\
        --out benchmarks/results/diversity.json

Different messages of the validation split are taken in random order. The first part says which
replies are generic and tunes the weights of reranking (by BLEU-2), the second sets the prices, the
third is measured: no reply that is counted had a part in a choice. The test split is not touched.

With ``--lists N`` the five-best lists of N other messages are compared instead, and put into the
same file: how different the replies of one list are from each other.
"""

import argparse
import json
from collections.abc import Sequence
from dataclasses import replace
from itertools import combinations
from pathlib import Path

import numpy as np
from tqdm import tqdm

import dvs2s
from dvs2s.answer import Answer
from dvs2s.coverage.generic import GenericBound, margin, most_frequent, price_for_share
from dvs2s.data.batch import make_batch
from dvs2s.data.corpus import PreparedData
from dvs2s.evaluation.diversity import distinct_per_token, generic_share, unique_replies
from dvs2s.evaluation.measures import CorpusBleu
from dvs2s.reranking import Partner, reranked
from dvs2s.scoring import grouped
from dvs2s.table.tuning import tune

SHARES = (0.2, 0.1, 0.05)
KINDS = {
    "beam": {"kind": "beam", "beam": 20, "num_best": 20},
    "diverse beam": {"kind": "diverse_beam", "beam": 20, "num_best": 20, "groups": 5},
}

LISTS = {
    "beam": {"kind": "beam"},
    "diverse beam, λ = 0.5": {"kind": "diverse_beam", "groups": 5, "diversity": 0.5},
    "diverse beam, λ = 2": {"kind": "diverse_beam", "groups": 5, "diversity": 2.0},
}


class Part:
    """Messages, their references, and the n-best lists of each kind of search."""

    def __init__(self, bot: dvs2s.Responder, data: PreparedData, groups: list[list[int]]) -> None:
        corpus, decode = data.split("valid"), bot.vocabulary.decode
        self.messages = [corpus.message(group[0]) for group in groups]
        self.references = [[decode(corpus.response(i).tolist()) for i in g] for g in groups]
        self.answers = {kind: self._answers(bot, kind) for kind in KINDS}
        greedy = bot.search_config(kind="greedy", num_best=1)
        self.answers["greedy"] = self._found(bot, greedy)
        sampling = bot.search_config(kind="sampling", num_best=1, temperature=0.8, top_p=0.95)
        self.answers["sampling (0.8, top_p 0.95)"] = self._found(bot, sampling)

    def _answers(self, bot: dvs2s.Responder, kind: str) -> list[Answer]:
        return self._found(bot, bot.search_config(**KINDS[kind]))

    def _found(self, bot: dvs2s.Responder, search) -> list[Answer]:
        found: dict[int, Answer] = {}
        order = sorted(range(len(self.messages)), key=lambda i: len(self.messages[i]))
        for first in tqdm(range(0, len(order), 16), desc=search.kind):
            chosen = order[first : first + 16]
            batch = make_batch([self.messages[i] for i in chosen], None, chosen)
            answers = bot.answers_to_batch(batch, search, input_seeds=chosen)
            # the admitted words are not needed, and would keep β of all messages
            found |= {i: replace(a, vocabulary=None) for i, a in zip(chosen, answers, strict=True)}
        return [found[i] for i in range(len(order))]


def row(name: str, answers: Sequence[Answer], part: Part, generic: frozenset) -> dict[str, object]:
    replies = [answer.replies[0].tokens for answer in answers]
    bleu = CorpusBleu(replies, part.references, order=2).values(np.ones((1, len(replies))))[0]
    return {
        "name": name,
        "BLEU-2": float(bleu),
        "distinct-1": distinct_per_token(replies, 1),
        "distinct-2": distinct_per_token(replies, 2),
        "unique": unique_replies(replies),
        "generic share (20 most frequent)": generic_share(replies),
        "in G": sum(reply in generic for reply in replies) / len(replies),
        "mean length": sum(map(len, replies)) / len(replies),
        "different first words in a list": float(
            np.mean([len({r.tokens[:1] for r in a.replies[:5]}) for a in answers])
        ),
    }


def add_lists(
    bot: dvs2s.Responder, data: PreparedData, groups: list[list[int]], options: argparse.Namespace
) -> None:
    """Compares the replies of each five-best list with each other."""
    corpus = data.split("valid")
    chosen = np.random.default_rng(1).permutation(len(groups))[: options.lists]
    messages = sorted((corpus.message(groups[i][0]) for i in chosen), key=len)
    rows = []
    for name, search in LISTS.items():
        config = bot.search_config(beam=20, num_best=5, **search)
        lists: list[list[tuple[str, ...]]] = []
        for first in tqdm(range(0, len(messages), 20), desc=name):
            some = messages[first : first + 20]
            answers = bot.answers_to_batch(make_batch(some, None, range(len(some))), config)
            lists += [[reply.tokens for reply in answer.replies] for answer in answers]
        shared = [
            len({*a} & {*b}) / max(len({*a} | {*b}), 1)
            for replies in lists
            for a, b in combinations(replies, 2)
        ]
        row = {
            "name": name,
            "first words": float(np.mean([len({r[:1] for r in replies}) for replies in lists])),
            "words": float(np.mean([len({w for r in replies for w in r}) for replies in lists])),
            "overlap of two replies": float(np.mean(shared)),
        }
        rows.append(row)
        print(row)
    path = Path(options.out)
    content = json.loads(path.read_text("utf-8")) if path.exists() else {}
    content["lists"] = {"messages": len(messages), "rows": rows}
    path.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--checkpoint", default="runs/dailydialog")
    parser.add_argument("--partner", default="", help="a run with data.pairing=unconditional")
    parser.add_argument("--messages", type=int, default=300, help="of each of the three parts")
    parser.add_argument("--lists", type=int, default=0, help="messages; compare five-best lists")
    parser.add_argument("--out", default="benchmarks/results/diversity.json")
    options = parser.parse_args()
    bot = dvs2s.load(options.checkpoint)
    data = PreparedData.open(Path(bot.config.data.prepared))
    corpus = data.split("valid")
    groups = grouped(corpus, len(corpus))
    if options.lists:
        add_lists(bot, data, groups, options)
        return
    chosen = np.random.default_rng(0).permutation(len(groups)).tolist()
    count = options.messages
    parts = [
        Part(bot, data, [groups[i] for i in chosen[k * count : (k + 1) * count]]) for k in range(3)
    ]
    tuning, pricing, measured = parts
    generic = most_frequent(tuning.answers["beam"], 20)
    rows = [row(kind, answers, measured, generic) for kind, answers in measured.answers.items()]
    prices, weights = {}, {}
    for kind in KINDS:
        margins = [margin(answer, generic) for answer in pricing.answers[kind]]
        for share in SHARES:
            price = price_for_share(margins, share)
            prices[f"{kind}, {share:g}"] = price
            if price is not None:
                bound = GenericBound(generic, {share: price}, {}, count)
                ranked = [bound.ranked(a, price, 20) for a in measured.answers[kind]]
                name = f"{kind}, generic at most {share:g}"
                rows.append(row(name, ranked, measured, generic))
        if options.partner:
            partner = Partner(dvs2s.load(options.partner, engine="plain"), "anti_lm")
            some = partner.candidates(tuning.messages, tuning.answers[kind])
            found = tune("anti_lm", tuning.answers[kind], some, tuning.references)
            weights[kind] = {"λ": found.partner, "γ": found.length}
            known = partner.candidates(measured.messages, measured.answers[kind])
            ranked = [
                reranked(a, c, found) for a, c in zip(measured.answers[kind], known, strict=True)
            ]
            rows.append(row(f"{kind}, anti-LM", ranked, measured, generic))
    result = {
        "checkpoint": str(bot.source),
        "messages": count,
        "prices": prices,
        "weights": weights,
        "G": sorted(" ".join(words) for words in generic),
        "rows": rows,
    }
    Path(options.out).write_text(
        json.dumps(result, indent=1, ensure_ascii=False) + "\n", encoding="utf-8"
    )
    for one in rows:
        print("  ".join(f"{v:8.4f}" if isinstance(v, float) else f"{v:36}" for v in one.values()))


if __name__ == "__main__":
    main()
