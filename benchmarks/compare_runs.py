"""Sets runs side by side: validation curves, scores, and replies that nobody picked.

    python benchmarks/compare_runs.py --title DailyDialog --out benchmarks/results/dailydialog \\
        --runs runs/dailydialog/joint-0 runs/dailydialog/cross_entropy-0 \\
        --reports joint-0-greedy.json cross_entropy-0-greedy.json \\
        --replies joint-0-greedy.jsonl cross_entropy-0-greedy.jsonl

Reports and replies come from ``dvs2s.cli.evaluate out=... replies=...``. Writes ``<out>.md`` and,
with matplotlib (the extra ``bench``), ``<out>.png``. The replies shown are those to twenty messages
at equal distances through the split.
"""

import argparse
import json
from pathlib import Path

from dvs2s.evaluation.report import Report, to_markdown

SHOWN = 20


def curve(run: Path) -> list[dict[str, float]]:
    """Returns the validations of a run."""
    rows = [json.loads(line) for line in (run / "metrics.jsonl").open(encoding="utf-8")]
    return [row for row in rows if "valid/loss" in row]


def curves_table(runs: list[Path]) -> str:
    """Returns one row a validation: nats a word under the model's own vocabulary, and recall."""
    lines = ["| run | update | nats a word | loss | recall of T | static list |"]
    lines.append("|---|---:|---:|---:|---:|---:|")
    for run in runs:
        for row in curve(run):
            recall = [row.get(f"valid/recall/{name}") for name in ("tokens", "static_list")]
            cells = ["–" if value is None else f"{value:.2%}" for value in recall]
            lines.append(
                f"| {run.name} | {row['update']} | {row['valid/nll']:.4f} "
                f"| {row['valid/loss']:.4f} | {cells[0]} | {cells[1]} |"
            )
    return "\n".join(lines)


def plot(runs: list[Path], path: Path) -> None:
    """Draws nats a word in training and validation."""
    import matplotlib

    matplotlib.use("agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(8, 4.5), layout="constrained")
    for number, run in enumerate(runs):
        rows = [json.loads(line) for line in (run / "metrics.jsonl").open(encoding="utf-8")]
        train = [(row["update"], row["train/nll"]) for row in rows if "train/nll" in row]
        valid = [(row["update"], row["valid/nll"]) for row in rows if "valid/nll" in row]
        axes.plot(*zip(*train, strict=True), color=f"C{number}", alpha=0.35, linewidth=1)
        axes.plot(*zip(*valid, strict=True), "o-", color=f"C{number}", label=run.name)
    axes.set_xlabel("updates")
    axes.set_ylabel("nats a word (thin: training batches)")
    axes.set_ylim(top=7)
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(path, dpi=130)


def replies_table(files: list[Path]) -> str:
    """Returns the replies of every file to the same twenty messages, by number.

    The messages stay out: most corpora may not be published.
    """
    columns = [[json.loads(line) for line in file.open(encoding="utf-8")] for file in files]
    count = min(len(column) for column in columns)
    places = [i * count // SHOWN for i in range(SHOWN)]
    names = [file.stem for file in files]
    lines = ["| message | " + " | ".join(names) + " |", "|---:|" + "---|" * len(files)]
    for place in places:
        first = columns[0][place]
        if any(column[place]["message"] != first["message"] for column in columns):
            raise SystemExit(f"message {place} differs between the files: evaluate the same split")
        cells = [str(place), *(column[place]["reply"] for column in columns)]
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--title", required=True)
    parser.add_argument("--out", type=Path, required=True, help="path without ending")
    parser.add_argument("--runs", type=Path, nargs="+", required=True)
    parser.add_argument("--reports", type=Path, nargs="+", required=True)
    parser.add_argument("--replies", type=Path, nargs="+", required=True)
    options = parser.parse_args()
    reports = [Report(**json.loads(path.read_text("utf-8"))) for path in options.reports]
    picture = options.out.with_suffix(".png")
    plot(options.runs, picture)
    parts = [
        f"# {options.title}",
        f"![validation curves]({picture.name})",
        curves_table(options.runs),
        "## Scores",
        to_markdown(reports),
        "## Replies that nobody picked",
        replies_table(options.replies),
    ]
    options.out.with_suffix(".md").write_text("\n\n".join(parts) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
