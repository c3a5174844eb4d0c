"""Training the output layer: S vocabularies an example against one full cross-entropy.

Each form runs in turn in this process for its time, and once in a process of its own for its peak
memory: what an allocator keeps from one form would be counted for the next.
"""

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from dvs2s import ops
from dvs2s.bench.timing import forget_peak, interleaved, peak_bytes
from dvs2s.ops.reference import masked_cross_entropy


@dataclass(frozen=True)
class Setting:
    """B responses of T words, S vocabularies of |T| words each, of V; width H; words a chunk."""

    batch: int
    length: int
    samples: int
    words: int
    vocabulary: int
    width: int
    chunk: int


PRESETS = {
    "smoke": Setting(2, 3, 2, 50, 200, 16, 64),
    "quick": Setting(16, 10, 5, 1000, 10_000, 256, 1000),
    "paper": Setting(64, 20, 5, 2000, 30_000, 1024, 3000),
}
FORMS = ("full", "exp once", "chunked", "softmax a sample")


def forms(setting: Setting) -> dict[str, Callable[[], Tensor]]:
    """Returns, by name, a call that makes loss and gradients once and returns the loss."""
    generator = torch.Generator().manual_seed(0)
    hidden = torch.randn(setting.batch, setting.length, setting.width, generator=generator)
    weight = torch.randn(setting.vocabulary, setting.width, generator=generator)
    weight /= setting.width**0.5
    bias = torch.zeros(setting.vocabulary)
    targets = torch.randint(
        0, setting.vocabulary, (setting.batch, setting.length), generator=generator
    )
    share = setting.words / setting.vocabulary
    membership = (
        torch.rand(setting.batch, setting.samples, setting.vocabulary, generator=generator) < share
    )
    membership.scatter_(
        2,
        targets[:, None].expand(-1, setting.samples, -1),
        torch.ones((), dtype=torch.bool).expand(setting.batch, setting.samples, setting.length),
    )
    leaves = [t.requires_grad_() for t in (hidden, weight, bias)]

    def timed(loss: Callable[[], Tensor]) -> Callable[[], Tensor]:
        def call() -> Tensor:
            for leaf in leaves:
                leaf.grad = None
            value = loss()
            value.backward()  # type: ignore[no-untyped-call]
            return value.detach()

        return call

    def full() -> Tensor:
        logits = torch.nn.functional.linear(hidden, weight, bias)
        return torch.nn.functional.cross_entropy(logits.flatten(0, 1), targets.flatten())

    arguments = (hidden, weight, bias, membership, targets)
    return {
        "full": timed(full),
        "exp once": timed(lambda: ops.monte_carlo_cross_entropy(*arguments).mean()),
        "chunked": timed(
            lambda: ops.monte_carlo_cross_entropy(*arguments, chunk=setting.chunk).mean()
        ),
        "softmax a sample": timed(lambda: masked_cross_entropy(*arguments).mean()),
    }


def run(preset: str, *, repeats: int) -> dict[str, Any]:
    """Returns one row a form: time and peak memory, and both over full cross-entropy's.

    Args:
        preset: ``smoke``, ``quick`` or ``paper``.
        repeats: turns that count.

    Raises:
        ValueError: an unknown preset, or forms that disagree.
    """
    if preset not in PRESETS:
        raise ValueError(f"preset must be one of {', '.join(PRESETS)}, got {preset!r}")
    calls = forms(PRESETS[preset])
    wanted = calls["softmax a sample"]()
    for name in ("exp once", "chunked"):
        off = float((calls[name]() - wanted).abs())
        if not off < 1e-4:
            raise ValueError(f"{name} is off by {off:.1e}: not timed")
    timings = interleaved(calls, repeats=repeats, warm=1)
    memory = {name: peak_memory(preset, name) for name in FORMS}
    rows = [
        {
            "form": name,
            "median": timings[name].median(),
            "over_full": timings[name].median() / timings["full"].median(),
            "megabytes": memory[name] / 1e6,
            "memory_over_full": memory[name] / max(memory["full"], 1.0),
        }
        for name in FORMS
    ]
    return {"benchmark": "output layer", "preset": preset, "repeats": repeats, "rows": rows}


def peak_memory(preset: str, form: str) -> float:
    """Returns the bytes by which one call of a form raised the peak of a process of its own."""
    command = [sys.executable, "-m", "dvs2s.bench.output_layer", preset, form]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return float(json.loads(done.stdout.splitlines()[-1]))


def table(report: dict[str, Any]) -> str:
    """Returns the report as a Markdown table."""
    lines = ["| form | ms | x full | peak MB | x full |", "|---|---:|---:|---:|---:|"]
    for row in report["rows"]:
        lines.append(
            f"| {row['form']} | {row['median'] * 1e3:.1f} | {row['over_full']:.2f} | "
            f"{row['megabytes']:.0f} | {row['memory_over_full']:.2f} |"
        )
    return "\n".join(lines)


def _own_process(preset: str, form: str) -> None:
    call = forms(PRESETS[preset])[form]
    tiny = forms(PRESETS["smoke"])[form]
    tiny()  # threads, code and buffers that any call needs
    before = forget_peak()
    call()
    print(json.dumps(peak_bytes() - before))


if __name__ == "__main__":
    _own_process(sys.argv[1], sys.argv[2])
