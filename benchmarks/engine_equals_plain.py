"""Whether the compiled engine in float32 says what the plain search says, in every search mode.

    python benchmarks/engine_equals_plain.py --checkpoint runs/dailydialog/joint-0 \
        --data-root FOLDER --messages 1000 --out benchmarks/results/engine_equals_plain.json

Answers the first different messages of the checkpoint's validation split both ways and counts, for
each mode, how many have the same replies (all of an n-best list, in order), the same first reply
and the same T, and the largest difference between scores of equal replies, in nats.
"""

import argparse
import json
import platform
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

import dvs2s
from dvs2s.answer import Answer
from dvs2s.cli.runtime import checkpoint_data

MODES: dict[str, dict[str, Any]] = {
    "greedy": {"kind": "greedy"},
    "beam 20, five best": {"kind": "beam", "beam": 20, "num_best": 5},
    "beam 5, length penalty, no bigram twice, three words at least": {
        "kind": "beam",
        "beam": 5,
        "length_penalty": 1.0,
        "block_ngram": 2,
        "min_length": 3,
    },
    "sampling, two samples": {"kind": "sampling", "num_best": 2},
    "sampling, top 50, nucleus 0.9": {"kind": "sampling", "top_k": 50, "top_p": 0.9},
    "beam 10, threshold": {"kind": "beam", "beam": 10, "vocabulary": "threshold", "threshold": 0.1},
    "beam 10, full vocabulary": {"kind": "beam", "beam": 10, "vocabulary": "full"},
}
BATCH = 50


def answers(
    bot: dvs2s.Responder, messages: Sequence[Any], mode: dict[str, Any], advance: Any
) -> list[Answer]:
    """Returns an answer a message; a message's samples turn on its place alone."""
    search = bot.search_config(**{"num_best": 1} | mode)
    found = []
    for first in range(0, len(messages), BATCH):
        some = messages[first : first + BATCH]
        found += bot.answers(some, search, input_seeds=range(first, first + len(some)))
        advance(len(some))
    return found


def compare(plain: Sequence[Answer], compiled: Sequence[Answer]) -> dict[str, float]:
    """Returns counts of equal answers, and the largest difference of scores."""
    pairs = list(zip(plain, compiled, strict=True))
    tokens = [([r.tokens for r in a.replies], [r.tokens for r in b.replies]) for a, b in pairs]
    differences = [
        abs(one.score - other.score)
        for a, b in pairs
        for one, other in zip(a.replies, b.replies, strict=False)
        if one.tokens == other.tokens
    ]
    return {
        "messages": len(pairs),
        "same replies": sum(a == b for a, b in tokens),
        "same first reply": sum(a[0] == b[0] for a, b in tokens),
        "same T": sum(
            {w.word for w in a.vocabulary} == {w.word for w in b.vocabulary} for a, b in pairs
        ),
        "worst score difference": max(differences),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--checkpoint", type=Path, required=True, help="a run's folder")
    parser.add_argument("--data-root", default="", help="where its corpus is now")
    parser.add_argument("--messages", type=int, default=1000)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    plain, compiled = (dvs2s.load(options.checkpoint, engine=e) for e in ("plain", "compiled"))
    corpus = checkpoint_data(plain, options.data_root, "valid").split("valid")
    decode = plain.vocabulary.decode
    texts = (" ".join(decode(corpus.message(i).tolist())) for i in range(len(corpus)))
    messages = list(dict.fromkeys(texts))[: options.messages]
    rows = {}
    with tqdm(total=2 * len(MODES) * len(messages), unit=" replies", file=sys.stderr) as bar:
        for name, mode in MODES.items():
            bar.set_description(name[:20])
            both = [answers(bot, messages, mode, bar.update) for bot in (plain, compiled)]
            rows[name] = compare(*both)
    report = {"checkpoint": options.checkpoint.name, "machine": platform.machine(), "rows": rows}
    print(json.dumps(report, indent=1))
    if options.out:
        options.out.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
