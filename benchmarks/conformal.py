"""Nominal against achieved coverage of calibrated vocabularies, over random splits.

    python benchmarks/conformal.py --checkpoint runs/dailydialog --out benchmarks/results/conformal

Pairs of one split are divided at random, again and again: half calibrates, half is measured. Then
the whole split calibrates and another one, which had no part in it, is measured; beside β stands
the static list of the words most frequent in training responses, calibrated the same way.
Writes OUT.json and OUT.png (with matplotlib).
"""

import argparse
import json
import math
from pathlib import Path

import numpy as np

import dvs2s
from dvs2s.coverage.calibration import Calibration
from dvs2s.coverage.conformal import coverage_law, level_for_all, level_for_share
from dvs2s.coverage.corpus import figures, find_needs, measure
from dvs2s.coverage.levels import find_levels, level
from dvs2s.coverage.needs import Needs
from dvs2s.data.corpus import PreparedData
from dvs2s.validation import static_ranks

ALPHAS = (0.01, 0.05, 0.1, 0.2)


def divided(needs: Needs, splits: int, seed: int) -> dict[str, list[list[float]]]:
    """Returns for each guarantee, by threshold and by size, the coverages of the random splits."""
    rng = np.random.default_rng(seed)
    found: dict[str, list[list[float]]] = {}
    for _ in range(splits):
        order = rng.permutation(needs.pairs)
        ours, theirs = needs.chosen(order[::2]), needs.chosen(order[1::2])
        for kind in ("all", "share"):
            for rule in ("threshold", "size"):
                rows = found.setdefault(f"{kind}, {rule}", [[] for _ in ALPHAS])
                for row, alpha in zip(rows, ALPHAS, strict=True):
                    at = level(ours, kind, rule, alpha)
                    if kind == "all":
                        row.append(float((theirs.hardest(rule) <= at).mean()))
                    else:
                        missed = theirs.weights[theirs.of(rule) > at].sum() / theirs.pairs
                        row.append(float(1 - missed))
    return found


def static_needs(data: PreparedData, split: str) -> Needs:
    """Returns the sizes of the static list that hold each gold word.

    The message's own words are in T besides, as they are with β.
    """
    ranks, fixed = static_ranks(data).numpy(), data.vocabulary.num_fixed
    # the list is content words by falling number, behind the words that are always in
    place = fixed + 1 + np.argsort(np.argsort(ranks[fixed:], kind="stable"), kind="stable")
    corpus = data.split(split)
    pair, size = [], []
    for i in range(len(corpus)):
        gold = np.unique(corpus.response(i))
        gold = gold[gold >= fixed]
        pair += [i] * len(gold)
        own = np.isin(gold, corpus.message(i))
        size += np.where(own, -np.inf, place[gold - fixed]).tolist()
    sizes = np.array(size, dtype=np.float64)
    return Needs(np.array(pair, dtype=np.int64), -sizes, sizes, len(corpus))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--checkpoint", default="runs/dailydialog")
    parser.add_argument("--split", default="valid", help="its pairs are divided at random")
    parser.add_argument("--report", default="test", help="measured with levels of the whole split")
    parser.add_argument("--splits", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", default="benchmarks/results/conformal")
    options = parser.parse_args()
    bot = dvs2s.load(options.checkpoint, engine="plain")
    data = PreparedData.open(Path(bot.config.data.prepared))
    words = bot.vocabulary
    held_out = find_needs(bot, data.split(options.split))
    random = divided(held_out[True], options.splits, options.seed)
    half = held_out[True].pairs // 2 + held_out[True].pairs % 2
    levels = find_levels(held_out, ALPHAS, vocabulary_size=len(words))
    bot.selector.calibration = Calibration(levels, options.split, data.fingerprint, 2 * half)
    used = [one for one in levels if one.message_words]
    unseen = measure(bot, data.split(options.report), used)
    ours, theirs = static_needs(data, options.split), static_needs(data, options.report)
    static = []
    for alpha in ALPHAS:
        at = level_for_all(ours.hardest("size"), alpha)
        some = level_for_share(ours.of("size"), ours.weights, ours.pairs, alpha)
        static.append(
            {
                "alpha": alpha,
                "all": {"|T|": at, "achieved": float((theirs.hardest("size") <= at).mean())},
                "share": {"|T|": some},
            }
        )
    laws = {f"{alpha:g}": _spread(half, alpha) for alpha in ALPHAS}
    result = {
        "checkpoint": str(bot.source),
        "V": len(words),
        "always in": words.num_fixed,
        "pairs": {s: len(data.split(s)) for s in (options.split, options.report)},
        "random splits": {
            "of": options.split,
            "number": options.splits,
            "calibrating": half,
            "expected standard deviation": laws,
            "mean": {k: [float(np.mean(r)) for r in rows] for k, rows in random.items()},
            "deviation": {k: [float(np.std(r)) for r in rows] for k, rows in random.items()},
            "all": random,
        },
        options.report: figures(unseen),
        "static list": static,
    }
    Path(f"{options.out}.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(f"{'guarantee':18} {'nominal':>8} {'mean':>8} {'deviation':>9}   of {options.splits}")
    for name, rows in random.items():
        for alpha, row in zip(ALPHAS, rows, strict=True):
            print(f"{name:18} {1 - alpha:8.3f} {np.mean(row):8.4f} {np.std(row):9.4f}")
    gap = max(
        abs(np.mean(row) - (1 - alpha))
        for rows in random.values()
        for alpha, row in zip(ALPHAS, rows, strict=True)
    )
    print(f"greatest distance of a mean from nominal: {100 * gap:.2f} points")
    picture(options.out, random, unseen, len(words))


def _spread(pairs: int, alpha: float) -> float:
    """Returns the standard deviation of a split's coverage: of the level, and of the measured."""
    a, b = coverage_law(pairs, alpha)
    mean = a / (a + b)
    level_variance = mean * (1 - mean) / (a + b + 1)
    return math.sqrt(level_variance + mean * (1 - mean) / pairs)


def picture(out: str, random: dict[str, list[list[float]]], unseen: list, words: int) -> None:
    try:
        import matplotlib
    except ImportError:
        print("no picture: matplotlib is not here (pip install 'dvs2s[bench]')")
        return
    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, (left, right) = pyplot.subplots(1, 2, figsize=(10, 4))
    nominal = [1 - alpha for alpha in ALPHAS]
    left.plot([0.78, 1], [0.78, 1], color="0.7", linewidth=1)
    for name, mark in (("all, threshold", "o"), ("share, threshold", "s")):
        rows = random[name]
        kind = name.split(",")[0]
        for x, row in zip(nominal, rows, strict=True):
            left.plot(
                [x] * len(row),
                row,
                mark,
                markersize=3,
                alpha=0.35,
                color="C0" if kind == "all" else "C1",
            )
        left.plot(
            nominal,
            [np.mean(r) for r in rows],
            mark,
            fillstyle="none",
            color="C0" if kind == "all" else "C1",
            label=f"{kind}: mean of the splits",
        )
    left.set(xlabel="nominal coverage", ylabel="achieved", title="random splits of held-out pairs")
    left.legend()
    shown = [one for one in unseen if one.rule == "threshold" and one.level.kind == "share"]
    bins = np.linspace(0, words, 81)
    for one in shown:
        right.hist(one.sizes, bins, histtype="step", density=True, label=f"{1 - one.level.alpha:g}")
    right.set(xlabel="|T| of a message", yticks=[], title="|T| for an expected share of gold words")
    right.legend(title="share")
    figure.tight_layout()
    figure.savefig(f"{out}.png", dpi=110)


if __name__ == "__main__":
    main()
