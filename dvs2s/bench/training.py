"""Whole updates of training: S2SA, S-DVS2S, DVS2S with S samples, and DVS2S sample by sample.

All objectives train one model with one optimiser in turn: their times share the machine's noise.
Memory is measured with each in a process of its own: what an allocator keeps from one would be
counted for the next.
"""

import gc
import json
import os
import statistics
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from dvs2s.bench.per_sample import PerSampleOutput
from dvs2s.bench.presets import PAPER_SIZES, TINY_SIZES
from dvs2s.bench.timing import forget_peak, interleave, peak_bytes
from dvs2s.data.batch import Batch, make_batch
from dvs2s.model import Dvs2sModel, ModelSizes
from dvs2s.objectives.baselines import Baseline
from dvs2s.objectives.bounds import BoundOptions, Estimator
from dvs2s.objectives.cross_entropy import CrossEntropy
from dvs2s.objectives.dvs2s import Joint, JointOptions
from dvs2s.objectives.row_price import RowPrice
from dvs2s.objectives.separate import Separate
from dvs2s.objectives.word_loss import Negatives, WordLoss
from dvs2s.training.schedule import adamw
from dvs2s.training.update import run_update


@dataclass(frozen=True)
class Setting:
    """What is trained on.

    Args:
        sizes: of the model.
        batch: pairs B.
        message: words S of each message.
        response: words T of each response, its end included.
        expected: E|T| that β starts with.
        contenders: of ``CONTENDERS``, the first is what the others are divided by.
        rounds: timed ones.
    """

    sizes: ModelSizes
    batch: int
    message: int
    response: int
    expected: int
    contenders: tuple[str, ...]
    rounds: int


_SAMPLES = (1, 5, 20)
_LOCAL, _PLAIN = "DVS2S, S = 5, local expectation", "DVS2S, S = 5, sample by sample"
CONTENDERS = ("S2SA", "S-DVS2S", *(f"DVS2S, S = {s}" for s in _SAMPLES), _LOCAL, _PLAIN)
_MIDDLE_SIZES = ModelSizes(
    vocabulary_size=10_000,
    num_fixed=300,
    embedding_size=160,
    hidden_size=224,
    bag_size=160,
    predictor_size=224,
)
PRESETS = {
    "smoke": Setting(TINY_SIZES, 4, 5, 6, 60, CONTENDERS, 2),
    "quick": Setting(_MIDDLE_SIZES, 32, 12, 12, 1_000, CONTENDERS, 7),
    "paper": Setting(PAPER_SIZES, 64, 15, 20, 2_000, CONTENDERS, 5),
}


class Bench:
    """One model, one batch, one optimiser, and an update by every objective.

    Args:
        setting: their sizes.
        seed: of weights and words.
    """

    def __init__(self, setting: Setting, seed: int) -> None:
        torch.manual_seed(seed)
        self.setting = setting
        self.model = Dvs2sModel(setting.sizes)
        self.model.word_predictor.set_prior(_prior(setting))
        self.batch = _batch(setting, seed)
        self.optimizer = adamw(self.model.parameters(), lr=1e-5)
        self.objectives = {name: self._objective(name) for name in setting.contenders}
        self._fast = self.model.output

    def loss(self, name: str, seed: int) -> float:
        """Makes one update by the objective ``name`` and returns its loss before."""
        torch.manual_seed(seed)
        self.model.output = PerSampleOutput(self._fast) if name == _PLAIN else self._fast
        objective = self.objectives[name]
        done = run_update(objective, [self.batch], optimizer=self.optimizer, lr=1e-5, clip_norm=5.0)
        self.model.output = self._fast
        return done.loss

    def rows_with_gradient(self) -> dict[str, tuple[int, int]]:
        """Returns the bytes of each word table's gradient: of the rows that have one, and of all.

        The union of any number of workers' rows is that of the batch.
        """
        tables = {
            "embedding": self.model.embedding.weight,
            "bags of words": self.model.word_predictor.bags.weight,
            "output layer": self.model.output.projection.weight,
        }
        found = {}
        for name, table in tables.items():
            if table.grad is not None:
                rows = int(table.grad.to_dense().any(1).sum())
                found[name] = (len(table) + rows * table[0].numel() * 4, table.numel() * 4)
        return found

    def _objective(self, name: str) -> nn.Module:
        if name == "S2SA":
            return CrossEntropy(self.model)
        counts = torch.ones(self.model.sizes.vocabulary_size - self.model.sizes.num_fixed).long()
        word_loss, price = WordLoss(Negatives(), counts), RowPrice(price=1e-3)
        if name == "S-DVS2S":
            return Separate(self.model, word_loss=word_loss, price=price)
        estimator: Estimator = "local_expectation" if name == _LOCAL else "score_function"
        samples = int(name.split(" = ")[1].split(",")[0])
        options = JointOptions(0, BoundOptions(num_samples=samples, estimator=estimator))
        baseline = Baseline("running")
        return Joint(
            self.model, word_loss=word_loss, price=price, baseline=baseline, options=options
        )


def run(
    preset: str,
    *,
    rounds: int = 0,
    seed: int = 0,
    clock: str = "wall",
) -> dict[str, Any]:
    """Returns one row an objective: seconds and memory of an update, tokens a second.

    Args:
        preset: of ``PRESETS``.
        rounds: timed ones; 0 for the preset's.
        seed: of weights, words and draws.
        clock: of ``timing.CLOCKS``.

    Raises:
        ValueError: an unknown preset, or the sample-by-sample form has another loss.
    """
    if preset not in PRESETS:
        raise ValueError(f"preset must be one of {', '.join(PRESETS)}, got {preset!r}")
    setting = PRESETS[preset]
    used = memory_of_own_processes(preset, seed)
    bench = Bench(setting, seed)
    traffic = _check(bench, seed)
    timed = interleave(
        [_call(bench, name) for name in setting.contenders],
        rounds=rounds or setting.rounds,
        warm_up=1,
        title="updates",
        clock=clock,
    )
    rows = []
    for name, one in zip(setting.contenders, timed, strict=True):
        ratios = [a / b for a, b in zip(one.seconds, timed[0].seconds, strict=True)]
        rows.append(
            {
                "objective": name,
                "seconds": one.spread(),
                "times_first": statistics.median(ratios),
                "tokens_per_second": bench.batch.num_tokens / one.median(),
                **used[name],
                **_over(used[name], used[setting.contenders[0]]),
                "table_bytes": traffic[name],
            }
        )
    return {"preset": preset, "rounds": rounds or setting.rounds, "clock": clock, "rows": rows}


def _over(memory: dict[str, float], first: dict[str, float]) -> dict[str, float]:
    return {
        f"times_first_{key}": memory[f"{key}_megabytes"] / max(first[f"{key}_megabytes"], 1e-9)
        for key in ("update", "process")
    }


def _check(bench: Bench, seed: int) -> dict[str, dict[str, tuple[int, int]]]:
    """Returns each objective's rows with a gradient; both forms of S samples must agree."""
    losses, traffic = {}, {}
    for name in bench.setting.contenders:
        losses[name] = bench.loss(name, seed)
        traffic[name] = bench.rows_with_gradient()
    if _PLAIN in losses:  # a few updates of a learning rate that moves next to nothing lie between
        fast = losses["DVS2S, S = 5"]
        if not abs(losses[_PLAIN] - fast) < 1e-2 * abs(fast):
            raise ValueError(f"sample by sample the loss is {losses[_PLAIN]}, not {fast}")
    return traffic


def _call(bench: Bench, name: str) -> Callable[[int], dict[str, float]]:
    def call(number: int) -> dict[str, float]:
        bench.loss(name, number)
        return {}

    return call


def memory_of_own_processes(preset: str, seed: int) -> dict[str, dict[str, float]]:
    """Returns by objective the peak of an update above what stays, and the process's peak.

    One fresh process forks for each objective: what another one has allocated is not counted.
    """
    command = [sys.executable, "-m", "dvs2s.bench.training", preset, str(seed)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return dict(json.loads(line) for line in done.stdout.splitlines())


def table(report: dict[str, Any]) -> str:
    """Returns the report as a Markdown table."""
    first = report["rows"][0]["objective"]
    lines = [
        f"| objective | s an update | x {first} | tokens/s | MB of an update | x {first} "
        f"| MB of the process | x {first} |",
        "|---|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for row in report["rows"]:
        lines.append(
            f"| {row['objective']} | {row['seconds']['median']:.3f} | {row['times_first']:.2f} "
            f"| {row['tokens_per_second']:.0f} | {row['update_megabytes']:.0f} "
            f"| {row['times_first_update']:.2f} | {row['process_megabytes']:.0f} "
            f"| {row['times_first_process']:.2f} |"
        )
    lines += ["", "| objective | table | MB sent, rows | MB sent, whole |", "|---|---|---:|---:|"]
    for row in report["rows"]:
        for name, (sparse, dense) in row["table_bytes"].items():
            lines.append(
                f"| {row['objective']} | {name} | {sparse / 1e6:.1f} | {dense / 1e6:.1f} |"
            )
    return "\n".join(lines)


def _prior(setting: Setting) -> Tensor:
    """Returns falling β, (C,), whose sum makes E|T|: about as a trained predictor's prior."""
    sizes = setting.sizes
    ranks = torch.arange(1, sizes.vocabulary_size - sizes.num_fixed + 1).double()
    wanted = setting.expected - sizes.num_fixed
    low, high = 0.0, float(len(ranks))
    for _ in range(60):  # β_i = min(0.9, scale / rank)
        scale = (low + high) / 2
        if float((scale / ranks).clamp_max(0.9).sum()) < wanted:
            low = scale
        else:
            high = scale
    return (low / ranks).clamp(1e-6, 0.9).float()


def _batch(setting: Setting, seed: int) -> Batch:
    generator = torch.Generator().manual_seed(seed)
    words = setting.sizes.vocabulary_size
    # squares of uniform numbers: low ids, which are frequent words, come more often
    draws = torch.rand(setting.batch, setting.message + setting.response, generator=generator)
    ids = (5 + (words - 5) * draws.square()).long().clamp_max(words - 1).numpy()
    return make_batch(
        list(ids[:, : setting.message]),
        list(ids[:, setting.message : -1]),  # its end is added
        range(setting.batch),
    )


def _own_processes(preset: str, seed: int) -> None:
    torch.set_num_threads(1)
    for name in PRESETS[preset].contenders:
        sys.stdout.flush()
        child = os.fork()
        if child == 0:
            print(json.dumps([name, _memory(preset, name, seed)]), flush=True)
            os._exit(0)
        if os.waitpid(child, 0)[1]:
            sys.exit(f"no memory figure for {name}")


def _memory(preset: str, name: str, seed: int) -> dict[str, float]:
    bench = Bench(PRESETS[preset], seed)
    bench.loss(name, seed)  # the optimiser's state comes to be
    bench.optimizer.zero_grad(set_to_none=True)
    gc.collect()
    before = forget_peak()
    bench.loss(name, seed + 1)
    peak = peak_bytes()
    return {"update_megabytes": (peak - before) / 1e6, "process_megabytes": peak / 1e6}


if __name__ == "__main__":
    _own_processes(sys.argv[1], int(sys.argv[2]))
