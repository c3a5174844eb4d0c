"""Does memory grow over a long training? Resident memory over 20,000 updates of a tiny model.

python benchmarks/memory_slope.py --updates 20000 --out benchmarks/results/memory_slope.json

Runs the command's own training (loop, loader, validation, checkpoints, curves) on a synthetic
corpus and notes the process's resident memory every so many updates. After a warm-up of a fifth,
a line is fitted; its slope is compared with the scatter around it, and with R8's bound of 1 %.
"""

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import hydra
import numpy as np
import torch
from hydra.core.config_store import ConfigStore

from dvs2s.cli import train
from dvs2s.cli.entry import as_schema
from dvs2s.config import TrainConfig
from dvs2s.data.synthetic import make_task, write_tsv
from dvs2s.paths import config_folder
from dvs2s.training.tracker import Tracker

OPTIONS = (
    "data=tsv",
    "data.drop_train_duplicates=false",
    "model.embedding_size=8",
    "model.hidden_size=8",
    "model.bag_size=8",
    "model.predictor_size=8",
    "objective.budget=34",
    "optim.warmup=5",
    "search.size=40",
    "search.kind=greedy",
    "trainer.batch_size=4",
    "trainer.samples=2",
    "trainer.threads=1",
    "trainer.progress=none",
)
PAGE_MB = os.sysconf("SC_PAGE_SIZE") / 2**20


def resident_mb() -> float:
    """Returns this process's resident memory, MiB (Linux)."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * PAGE_MB


def measure(folder: Path, *, updates: int, every: int) -> dict[str, Any]:
    """Returns the curve of (update, MiB) and what a line through it says."""
    (folder / "corpus").mkdir(parents=True)
    for place, (split, pairs) in enumerate({"train": 250, "valid": 12, "test": 12}.items()):
        task = make_task(pairs, num_topics=4, words_per_topic=3, seed=place)
        write_tsv(folder / "corpus" / f"{split}.tsv", task.pairs)
    places = (f"data.root={folder}/corpus", f"data.prepared={folder}/prepared")
    lengths = (f"trainer.max_updates={updates}", f"trainer.log_every={every}")
    often = [f"trainer.{name}={max(updates // 40, 1)}" for name in ("validate_every", "save_every")]
    ConfigStore.instance().store(name="train_schema", node=TrainConfig)
    with hydra.initialize_config_dir(str(config_folder()), version_base="1.3"):
        overrides = [*OPTIONS, *places, *lengths, *often, f"trainer.run={folder}/run"]
        config = as_schema(hydra.compose("train", overrides=overrides), TrainConfig)
    curve: list[tuple[int, float]] = []
    log = Tracker.log

    def noting(
        self: Tracker,
        update: int,
        values: Mapping[str, float],
        text: Mapping[str, str] | None = None,
    ) -> None:
        log(self, update, values, text)
        if "train/loss" in values or "train/lr" in values:
            curve.append((update, resident_mb()))

    Tracker.log = noting  # type: ignore[method-assign]
    try:
        train.main(config)
    finally:
        Tracker.log = log  # type: ignore[method-assign]
    return {"updates": updates, **line(curve), "curve": [[u, round(mb, 3)] for u, mb in curve]}


def line(curve: list[tuple[int, float]]) -> dict[str, float]:
    """Returns the slope after the warm-up with its standard error, and the growth it means."""
    later = np.array(curve[len(curve) // 5 :], dtype=float)
    x, y = later[:, 0], later[:, 1]
    centred = x - x.mean()
    slope = float(centred @ y / (centred @ centred))
    left = y - y.mean() - slope * centred
    error = float(np.sqrt(left @ left / (len(x) - 2) / (centred @ centred)))
    growth = slope * float(np.ptp(x))
    return {
        "mib_per_1000_updates": slope * 1000,
        "standard_error": error * 1000,
        "growth_mib": growth,
        "growth_percent": 100 * growth / float(y.mean()),
        "mean_mib": float(y.mean()),
    }


def main() -> int:
    """Prints the result as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--updates", type=int, default=20_000)
    parser.add_argument("--every", type=int, default=100)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--picture", type=Path)
    given = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        found = measure(Path(folder), updates=given.updates, every=given.every)
    if given.out:
        given.out.write_text(json.dumps(found) + "\n")
    if given.picture:
        draw(found, given.picture)
    print(json.dumps({name: value for name, value in found.items() if name != "curve"}, indent=1))
    return 0


def draw(found: dict[str, Any], path: Path) -> None:
    """Draws the curve."""
    import matplotlib

    matplotlib.use("agg")
    import matplotlib.pyplot as plt

    figure, axis = plt.subplots(figsize=(6.4, 3.4), layout="constrained")
    axis.plot(*zip(*found["curve"], strict=True))
    axis.set_ylim(0, 1.15 * max(mb for _, mb in found["curve"]))
    axis.set_xlabel("update")
    axis.set_ylabel("resident memory, MiB")
    axis.set_title(
        f"{found['mib_per_1000_updates']:+.3f} ± {found['standard_error']:.3f} MiB "
        "in 1,000 updates after the first fifth",
        fontsize=9,
    )
    axis.grid(alpha=0.3)
    figure.savefig(path, dpi=110)
    plt.close(figure)


if __name__ == "__main__":
    sys.exit(main())
