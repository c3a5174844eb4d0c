"""Condensed tables and the picture of ``benchmarks/dropped_words.py``.

    python benchmarks/dropped_words_report.py --greedy FILE --sampled FILE --options FILE
        --out benchmarks/results/dropped_words

``--greedy`` and ``--sampled`` are its JSON for fully trained runs, ``--options`` that for runs that
differ in how the decoder is kept calibrated. Runs of one kind (``joint-0``, ``joint-1``) are
averaged. Prints Markdown; writes ``<out>.png`` and ``<out>.json``.
"""

import argparse
import json
from pathlib import Path
from typing import Any

KINDS = ("all", "content", "rare", "named", "echoed")


def main() -> None:
    """Prints the tables, draws the picture and writes the figures in one file."""
    options = _parser().parse_args()
    paths = {"greedy": options.greedy, "sampled": options.sampled, "options": options.options}
    reports = {name: json.loads(Path(path).read_text()) for name, path in paths.items()}
    greedy, sampled = reports["greedy"]["runs"], reports["sampled"]["runs"]
    print(recall_table(greedy) + "\n")
    print(perplexity_table(greedy) + "\n")
    print(replies_table(greedy, "greedy") + "\n")
    print(replies_table(sampled, "sampled") + "\n")
    print(options_table(reports["options"]["runs"]))
    Path(f"{options.out}.json").write_text(json.dumps(reports, indent=1) + "\n")
    draw(greedy, sampled, reports["options"]["runs"], Path(f"{options.out}.png"))


def mean(runs: dict[str, Any], *keys: str) -> float:
    """Returns a figure's mean over the runs."""
    total = 0.0
    for found in runs.values():
        value = found
        for key in keys:
            value = value[key]
        total += value
    return total / len(runs)


def sizes(runs: dict[str, Any]) -> list[str]:
    """Returns the settings with the message's own words, ``full`` last."""
    return [s for s in next(iter(runs.values()))["by kind"] if "no message" not in s]


def recall_table(runs: dict[str, Any]) -> str:
    """Returns the share of each kind of word in T, with and without the message's own words."""
    lines = ["| in T | " + " | ".join(KINDS) + " |", "|---|" + "---:|" * len(KINDS)]
    for size in sizes(runs):
        for setting in (f"{size}, no message words", size):
            if setting not in next(iter(runs.values()))["by kind"]:
                continue
            cells = [f"{mean(runs, 'by kind', setting, k, 'recall'):.1%}" for k in KINDS]
            lines.append(f"| {setting} | " + " | ".join(cells) + " |")
    words = [f"{mean(runs, 'by kind', 'full', k, 'words'):,.0f}" for k in KINDS]
    return "\n".join([*lines, "| words measured | " + " | ".join(words) + " |"])


def perplexity_table(runs: dict[str, Any]) -> str:
    """Returns the perplexities of the words that T holds."""
    ways = ("perplexity over T", "perplexity over T, weighed", "perplexity over V")
    lines = ["| T | " + " | ".join(f"{k}: T / T weighed / V" for k in KINDS) + " |"]
    lines.append("|---|" + "---:|" * len(KINDS))
    for size in sizes(runs):
        cells = [
            " / ".join(f"{mean(runs, 'by kind', size, k, w):.0f}" for w in ways) for k in KINDS
        ]
        lines.append(f"| {size} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def replies_table(runs: dict[str, Any], search: str) -> str:
    """Returns the measures of replies."""
    shown = {
        "BLEU-2": "BLEU-2",
        "distinct-2 (per token)": "distinct-2",
        "unique replies": "unique",
        "generic share": "generic",
        "mean length": "words",
        "perplexity under the judge": "perplexity under the judge",
    }
    lines = [f"| {search}, T | " + " | ".join(shown.values()) + " |"]
    lines.append("|---|" + "---:|" * len(shown))
    for setting in next(iter(runs.values()))["replies"]:
        cells = [f"{mean(runs, 'replies', setting, name):.3g}" for name in shown]
        lines.append(f"| {setting} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def options_table(runs: dict[str, Any]) -> str:
    """Returns one row a run: perplexities of all words by |T|, and of replies over all words."""
    settings = sizes(runs)
    head = [f"{s}: T / weighed" for s in settings]
    head += ["rare over V", "echoed over V", "replies over V: judge", "generic"]
    lines = ["| trained by | " + " | ".join(head) + " |", "|---|" + "---:|" * len(head)]
    for name, found in runs.items():
        kinds = found["by kind"]
        cells = [
            f"{kinds[s]['all']['perplexity over T']:.1f} / "
            f"{kinds[s]['all']['perplexity over T, weighed']:.1f}"
            for s in settings
        ]
        cells += [f"{kinds['full'][k]['perplexity over V']:.0f}" for k in ("rare", "echoed")]
        full = found["replies"]["full"]
        cells += [f"{full['perplexity under the judge']:.1f}", f"{full['generic share']:.1%}"]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def draw(
    greedy: dict[str, Any], sampled: dict[str, Any], options: dict[str, Any], path: Path
) -> None:
    """Draws recall by kind, perplexity over T and V, replies under the judge, and the options."""
    import matplotlib

    matplotlib.use("agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(2, 2, figsize=(11, 8), layout="constrained")
    settings = sizes(greedy)
    places = range(len(settings))
    for number, kind in enumerate(KINDS):
        for style, tail in (("o-", ""), ("x:", ", no message words")):
            ys = [
                mean(greedy, "by kind", s if s == "full" else s + tail, kind, "recall")
                for s in settings
            ]
            label = kind if not tail else None
            axes[0, 0].plot(places, ys, style, color=f"C{number}", label=label)
    axes[0, 0].set_title("share of words in T (dotted: without the message's own words)")
    for number, (name, key) in enumerate(
        {"over T": "perplexity over T", "weighed by β": "perplexity over T, weighed"}.items()
    ):
        ys = [mean(greedy, "by kind", s, "all", key) for s in settings]
        axes[0, 1].plot(places, ys, "o-", color=f"C{number}", label=name)
    axes[0, 1].set_title("perplexity of the words in T, trained inside of T")
    for number, (name, runs) in enumerate({"greedy": greedy, "sampled": sampled}.items()):
        for style, tail in (("o-", ""), ("x:", ", weighed")):
            ys = [mean(runs, "replies", s + tail, "perplexity under the judge") for s in settings]
            axes[1, 0].plot(places, ys, style, color=f"C{number}", label=name + tail)
    axes[1, 0].set_yscale("log")
    axes[1, 0].set_title("replies: perplexity under a plain model of all words")
    own = sizes(options)
    for number, (name, found) in enumerate(options.items()):
        ys = [found["by kind"][s]["all"]["perplexity over T"] for s in own]
        axes[1, 1].plot(range(len(own)), ys, "o-", color=f"C{number}", label=name)
    axes[1, 1].set_title("perplexity of the words in T, by training option")
    for axis in axes.flat:
        ticks = own if axis is axes[1, 1] else settings
        axis.set_xticks(range(len(ticks)), labels=ticks)
        axis.set_xlabel("|T|")
        axis.grid(alpha=0.3)
        axis.legend(fontsize=7)
    figure.savefig(path, dpi=120, format="png", metadata={"Software": None})
    plt.close(figure)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name in ("greedy", "sampled", "options", "out"):
        parser.add_argument(f"--{name}", required=True)
    return parser


if __name__ == "__main__":
    main()
