"""Prepares a million pairs in a child process and reports speed and peak memory.

usage: python benchmarks/prepare_million.py [--tsv FILE] [--pairs N] [--workers N] [--out FILE.json]

Runs twice, at half the size and at the full size, to show that memory stays flat. Memory is the
largest resident set of the preparing process and of its largest worker (getrusage in the child).
Making the text is not timed.
"""

import argparse
import gzip
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

_BLOCK = 10_000
_MEAN_TOKENS = 12


def main() -> None:
    """Parses the command line and runs both sizes."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tsv", type=Path, help="text to repeat; without it, made-up Zipf words")
    parser.add_argument("--pairs", type=int, default=1_000_000)
    parser.add_argument("--workers", type=int, default=0, help="0 = one per processor, at most 4")
    parser.add_argument("--out", type=Path, help="also write the rows as JSON")
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        run_child(args.child, args.workers)
        return
    rows = [measure(args.tsv, size, args.workers) for size in (args.pairs // 2, args.pairs)]
    report = {"machine": machine(), "text": "real" if args.tsv else "zipf", "rows": rows}
    show(report)
    if args.out:
        args.out.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


def measure(tsv: Path | None, num_pairs: int, workers: int) -> dict[str, float]:
    """Returns the row of one size."""
    with tempfile.TemporaryDirectory(prefix="dvs2s-bench-") as name:
        folder = Path(name)
        make_text(folder / "train.tsv", tsv, num_pairs)
        command = [sys.executable, __file__, "--child", name, "--workers", str(workers)]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
        row: dict[str, float] = json.loads(done.stdout)
        return row


def run_child(folder: Path, workers: int) -> None:
    """Prepares folder/train.tsv and prints one row of JSON."""
    from dvs2s.data.options import PrepareOptions
    from dvs2s.data.prepare import prepare

    source = folder / "train.tsv"
    options = PrepareOptions(workers=workers)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = time.perf_counter()
    manifest = prepare({"train": [source]}, folder / "out", options=options, progress=True)
    seconds = time.perf_counter() - start
    counts = manifest.splits["train"]
    row = {
        "pairs": counts.pairs,
        "text_mb": source.stat().st_size / 1e6,
        "tokens": counts.message_tokens + counts.response_tokens,
        "vocabulary": manifest.vocabulary_size,
        "workers": options.num_workers,
        "seconds": seconds,
        "pairs_per_second": counts.pairs / seconds,
        "rss_before_mb": before / 1024,
        "peak_rss_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "peak_rss_worker_mb": resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024,
    }
    print(json.dumps(row))


def make_text(path: Path, tsv: Path | None, num_pairs: int) -> None:
    """Writes `num_pairs` different pairs: lines of a corpus with shuffled words, or Zipf words."""
    lines = zipf_lines(num_pairs) if tsv is None else repeated_lines(tsv, num_pairs)
    with path.open("w", encoding="utf-8", newline="\n") as file:
        file.writelines(lines)


def repeated_lines(tsv: Path, num_pairs: int) -> Iterator[str]:
    """Yields a corpus's lines over and over; from the second time on with words shuffled."""
    generator = np.random.default_rng(0)
    given = repeats = 0
    while given < num_pairs:
        with gzip.open(tsv, "rt") if tsv.suffix == ".gz" else tsv.open(encoding="utf-8") as file:
            for line in file:
                yield shuffled(line, generator) if repeats else line
                given += 1
                if given == num_pairs:
                    return
        repeats += 1


def shuffled(line: str, generator: np.random.Generator) -> str:
    """Returns the line with the words of each side in another order."""
    sides = (side.split() for side in line.rstrip("\n").split("\t"))
    orders = ((words, generator.permutation(len(words))) for words in sides)
    return "\t".join(" ".join(words[i] for i in order) for words, order in orders) + "\n"


def zipf_lines(num_pairs: int) -> Iterator[str]:
    """Yields pairs of made-up words whose frequencies fall as in real text."""
    generator = np.random.default_rng(0)
    for start in range(0, num_pairs, _BLOCK):
        count = min(_BLOCK, num_pairs - start)
        lengths = generator.poisson(_MEAN_TOKENS - 1, size=(count, 2)) + 1
        words = generator.zipf(1.3, size=int(lengths.sum())) % 1_000_000
        names = [f"w{word}" for word in words.tolist()]
        bounds = np.cumsum(lengths.ravel()).tolist()
        sides = [" ".join(names[a:b]) for a, b in zip([0, *bounds[:-1]], bounds, strict=True)]
        for k in range(count):
            yield f"{sides[2 * k]}.\t{sides[2 * k + 1]}!\n"


def machine() -> str:
    """Returns the machine in words."""
    return (
        f"{platform.machine()}, {os.cpu_count()} processors, Python {platform.python_version()}, "
        f"numpy {np.__version__}, {platform.system()} {platform.release()}"
    )


def show(report: dict[str, object]) -> None:
    """Prints the rows for people."""
    print(report["machine"])
    rows = report["rows"]
    assert isinstance(rows, list)
    print("    pairs  workers  seconds  pairs/s  text MB  peak MB  worker MB  tokens  vocabulary")
    for row in rows:
        print(
            f"{row['pairs']:>9,} {row['workers']:>8} {row['seconds']:>8.1f} "
            f"{row['pairs_per_second']:>8,.0f} {row['text_mb']:>8.0f} {row['peak_rss_mb']:>8.0f} "
            f"{row['peak_rss_worker_mb']:>10.0f} {row['tokens']:>11,} {row['vocabulary']:>7,}"
        )


if __name__ == "__main__":
    main()
