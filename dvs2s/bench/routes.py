"""The planner against its three routes: how far from the best, and from the dense product."""

from dataclasses import asdict
from typing import Any

import torch
from tqdm import tqdm

from dvs2s import ops
from dvs2s.bench.operators import Operands, Shape
from dvs2s.bench.timing import STATES, interleaved
from dvs2s.ops.library import ROUTES
from dvs2s.ops.planner import choose

_FAR = 10.0  # times the fastest
PRESETS: dict[str, list[Shape]] = {
    "smoke": [Shape(2, 3, 340, 1000, 64, "float32")],
    "grid": [
        Shape(batch, beam, words, vocabulary, 1024, "float32")
        for vocabulary in (30_000, 256_000)
        for batch, beam in ((1, 1), (1, 20), (4, 5), (16, 1), (16, 20), (64, 1), (64, 5))
        for words in (500, 1000, 5000)
    ],
}


@torch.inference_mode()
def run(preset: str, *, repeats: int, progress: bool) -> dict[str, Any]:
    """Returns one row a shape and state: each route's time, torch's dense product's, the choice.

    Args:
        preset: ``smoke`` or ``grid`` (the dense route takes most of its minutes).
        repeats: turns that count.
        progress: show a progress bar on stderr.

    Raises:
        ValueError: an unknown preset.
    """
    if preset not in PRESETS:
        raise ValueError(f"preset must be one of {', '.join(PRESETS)}, got {preset!r}")
    rows = []
    for shape in tqdm(PRESETS[preset], disable=not progress, unit="shape"):
        operands = Operands(shape)
        calls: dict[str, Any] = {
            name: lambda name=name, it=operands: it.ours(name) for name in ROUTES
        }
        calls["torch dense"] = operands.torch_dense
        number = choose("auto", operands.hidden, operands.weight, operands.ids)
        chosen = next(name for name, value in ROUTES.items() if value == number)
        # what is far behind after one turn takes no more of them: the full vocabulary's product
        # over 256,000 words would take most of an hour
        once = interleaved(calls, repeats=1, warm=1)
        first = {name: timing.median() for name, timing in once.items()}
        close = {n: calls[n] for n in calls if first[n] < _FAR * min(first.values())}
        for state, before in STATES.items():
            timings = interleaved(close, repeats=repeats, warm=1, before=before)
            seconds = first | {name: timing.median() for name, timing in timings.items()}
            rows.append(
                {
                    **asdict(shape),
                    "state": state,
                    **seconds,
                    "chosen": chosen,
                    "over_best": seconds[chosen] / min(seconds[name] for name in ROUTES),
                    "over_torch_dense": seconds[chosen] / seconds["torch dense"],
                }
            )
    return {"benchmark": "routes", "preset": preset, "repeats": repeats, "rows": rows}


def table(report: dict[str, Any]) -> str:
    """Returns the report as a Markdown table."""
    names: list[ops.Route] = ["gather", "union", "dense"]
    head = ["shape", "rows", *(f"{n}, ms" for n in names), "torch dense, ms", "chosen", "over best"]
    head.append("over torch dense")
    lines = ["| " + " | ".join(head) + " |", "|---" + "|---:" * (len(head) - 1) + "|"]
    for row in report["rows"]:
        shape = Shape(**{name: row[name] for name in Shape.__dataclass_fields__})
        cells = [shape.name(), row["state"], *(f"{row[n] * 1e3:.2f}" for n in names)]
        cells += [f"{row['torch dense'] * 1e3:.2f}", row["chosen"]]
        cells += [f"{row['over_best']:.2f}", f"{row['over_torch_dense']:.2f}"]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)
