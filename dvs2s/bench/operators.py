"""The operators' benchmark: correctness first, then time against torch and the machine's limits."""

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from dvs2s import ops
from dvs2s.bench.timing import STATES, Timed, interleaved
from dvs2s.ops import extension

FIXED = 300  # function words, the same in every vocabulary
_KINDS = {"float32": 0, "bfloat16": 1, "int8": 2}
_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "int8": torch.float32}


@dataclass(frozen=True)
class Shape:
    """One call: B inputs of R rows, |T| = K of V words, width H, weights of one type."""

    batch: int
    rows: int
    words: int
    vocabulary: int
    width: int
    dtype: str

    def name(self) -> str:
        """Returns it as a table shows it."""
        return (
            f"{self.dtype} {self.batch}x{self.rows} |T|={self.words} "
            f"V={self.vocabulary} H={self.width}"
        )


PRESETS: dict[str, list[Shape]] = {
    "smoke": [Shape(2, 3, 340, 1000, 64, "float32"), Shape(1, 2, 340, 1000, 64, "int8")],
    "decode": [
        Shape(1, rows, words, 30_000, 1024, dtype)
        for dtype in _KINDS
        for words in (1000, 2000)
        for rows in (1, 5, 20)
    ],
    "batch": [
        Shape(batch, rows, 1000, 30_000, 1024, dtype)
        for dtype in _KINDS
        for batch, rows in ((16, 5), (64, 1))
    ],
}


class Operands:
    """Random operands of a shape: function words shared, content words of each input its own."""

    def __init__(self, shape: Shape, seed: int = 0) -> None:
        generator = torch.Generator().manual_seed(seed)
        self.shape = shape
        dtype = _DTYPES[shape.dtype]
        hidden = torch.randn(shape.batch, shape.rows, shape.width, generator=generator)
        weight = torch.randn(shape.vocabulary, shape.width, generator=generator)
        weight /= shape.width**0.5
        self.hidden = hidden.to(dtype)
        self.full = weight.to(dtype)
        self.weight, self.scales = self.full, None
        if shape.dtype == "int8":
            self.weight, self.scales = ops.quantise_rows(weight)
        self.bias = torch.randn(shape.vocabulary, generator=generator)
        scores = torch.randn(shape.batch, shape.vocabulary - FIXED, generator=generator)
        self.ids, self.lengths = ops.select(scores, num_fixed=FIXED, size=shape.words)

    def ours(self, route: ops.Route = "auto", k: int = 20) -> tuple[Tensor, Tensor]:
        """Returns the fused top-k."""
        return ops.sparse_topk(
            self.hidden,
            self.weight,
            self.bias,
            self.ids,
            self.lengths,
            k,
            scales=self.scales,
            route=route,
            validate=False,
        )

    def torch_gather(self, k: int = 20) -> tuple[Tensor, Tensor]:
        """Returns the same in torch: rows gathered, product, log-softmax, top-k."""
        rows, bias = self.full[self.ids], self.bias[self.ids].to(self.full.dtype)
        logits = torch.baddbmm(bias[:, None], self.hidden, rows.transpose(1, 2))
        best = logits.float().log_softmax(-1).topk(k)
        return best.values, best.indices

    def torch_dense(self, k: int = 20) -> tuple[Tensor, Tensor]:
        """Returns the full vocabulary's top-k in torch."""
        logits = torch.nn.functional.linear(self.hidden, self.full, self.bias.to(self.full.dtype))
        best = logits.float().log_softmax(-1).topk(k)
        return best.values, best.indices

    def torch_int8_dense(self) -> Callable[[], tuple[Tensor, Tensor]]:
        """Returns a call: the full vocabulary through torch's dynamic int8 product."""
        product = _int8_linear(self.full, self.bias)
        flat = self.hidden.flatten(0, 1)

        def call(k: int = 20) -> tuple[Tensor, Tensor]:
            best = product(flat).log_softmax(-1).topk(k)
            return best.values, best.indices

        return call

    def error(self) -> float:
        """Returns the largest error of our scores against float64 over the same rows."""
        weight = self.weight.double()
        if self.scales is not None:
            weight = weight * self.scales.double()[:, None]
        hidden = self.hidden.double()
        if self.scales is not None:
            rows, sizes = ops.quantise_rows(self.hidden)
            hidden = rows.double() * sizes.double()[..., None]
        scores, slots = self.ours()
        worst = 0.0
        for example in range(self.shape.batch):
            mine = self.ids[example, : int(self.lengths[example])]
            truth = (hidden[example] @ weight[mine].T + self.bias[mine].double()).log_softmax(-1)
            worst = max(
                worst, float((scores[example] - truth.gather(1, slots[example])).abs().max())
            )
        return worst


def _int8_linear(weight: Tensor, bias: Tensor) -> Callable[[Tensor], Tensor]:
    import warnings

    linear = torch.nn.Linear(weight.shape[1], weight.shape[0])
    with torch.no_grad():
        linear.weight.copy_(weight)
        linear.bias.copy_(bias)
    with warnings.catch_warnings():  # deprecated, and still the strongest stock int8 there is
        warnings.simplefilter("ignore")
        quantised = torch.ao.quantization.quantize_dynamic(  # type: ignore[no-untyped-call]
            torch.nn.Sequential(linear), {torch.nn.Linear}, dtype=torch.qint8
        )
    call: Callable[[Tensor], Tensor] = quantised
    return call


@torch.inference_mode()
def run(preset: str, *, repeats: int, compiled: bool, progress: bool) -> dict[str, Any]:
    """Returns the report: one row a shape, state of the caches and provider, ceilings beside.

    Args:
        preset: ``smoke``, ``decode`` or ``batch``.
        repeats: turns that count.
        compiled: time ``torch.compile`` of the torch forms too (some seconds a shape to build).
        progress: show a progress bar on stderr.

    Raises:
        ValueError: an unknown preset, or kernels that are wrong.
    """
    if preset not in PRESETS:
        raise ValueError(f"preset must be one of {', '.join(PRESETS)}, got {preset!r}")
    rows = []
    for shape in tqdm(PRESETS[preset], disable=not progress, unit="shape"):
        operands = Operands(shape)
        error = operands.error()
        if not error < 1e-3:
            raise ValueError(f"{shape.name()}: scores are off by {error:.1e}: not timed")
        calls = dict(_calls(operands, compiled=compiled))
        for state, before in STATES.items():
            timings = interleaved(calls, repeats=repeats, before=before)
            rows += [{"state": state, **row} for row in _rows(operands, timings, error)]
    return {"benchmark": "operators", "preset": preset, "repeats": repeats, "rows": rows}


def _calls(operands: Operands, *, compiled: bool) -> Iterator[tuple[str, Callable[[], object]]]:
    yield "ours", operands.ours
    yield "torch gather", operands.torch_gather
    yield "torch dense", operands.torch_dense
    if operands.shape.dtype == "int8":
        yield "torch int8 dense", operands.torch_int8_dense()
    if compiled:
        yield "torch.compile gather", torch.compile(operands.torch_gather)
        yield "torch.compile dense", torch.compile(operands.torch_dense)
    if extension.load().path:
        kind = _KINDS[operands.shape.dtype]
        repeats = 400_000
        used = torch.unique(operands.ids)
        yield "ceiling arithmetic", lambda: torch.ops.dvs2s.arithmetic_ceiling(kind, repeats)
        yield "ceiling reading", lambda: torch.ops.dvs2s.reading_ceiling(operands.weight, used)


def _rows(operands: Operands, timings: dict[str, Timed], error: float) -> Iterator[dict[str, Any]]:
    shape = operands.shape
    products = shape.batch * shape.rows * shape.words * shape.width
    floor, binding = 0.0, ""
    if "ceiling reading" in timings:
        kind = _KINDS[shape.dtype]
        done = torch.ops.dvs2s.arithmetic_ceiling(kind, 1) * 400_000
        arithmetic = products / done * timings["ceiling arithmetic"].median()
        reading = timings["ceiling reading"].median()
        floor, binding = max((arithmetic, "arithmetic"), (reading, "reading"))
    for name, timing in timings.items():
        row: dict[str, Any] = {"provider": name, **asdict(shape), **timing.spread()}
        row["over_ours"] = timing.median() / timings["ours"].median()
        if name == "ours":
            row |= {"error": error, "floor": floor, "binding": binding}
            row["share_of_ceiling"] = floor / timing.median() if floor else None
        yield row


def table(report: dict[str, Any]) -> str:
    """Returns the report as a Markdown table, a line a shape and state of the caches."""
    names = [n for n in dict.fromkeys(r["provider"] for r in report["rows"]) if n != "ours"]
    names = [name for name in names if not name.startswith("ceiling")]
    head = [
        "shape",
        "rows",
        "ours, ms",
        "10-90 %",
        "of ceiling",
        "bound by",
        *(f"{n}, x" for n in names),
    ]
    lines = ["| " + " | ".join(head) + " |", "|---" + "|---:" * (len(head) - 1) + "|"]
    for (name, state), rows in grouped(report).items():
        ours = rows["ours"]
        share = ours["share_of_ceiling"]
        cells = [name, state, f"{ours['median'] * 1e3:.3f}"]
        cells += [f"{ours['low'] * 1e3:.3f}-{ours['high'] * 1e3:.3f}"]
        cells += [f"{share:.0%}" if share else "-", ours["binding"] or "-"]
        cells += [f"{rows[n]['over_ours']:.1f}" if n in rows else "-" for n in names]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def grouped(report: dict[str, Any]) -> dict[tuple[str, str], dict[str, dict[str, Any]]]:
    """Returns a report's rows by (name of the shape, state of the caches), then by provider."""
    found: dict[tuple[str, str], dict[str, dict[str, Any]]] = {}
    for row in report["rows"]:
        shape = Shape(**{name: row[name] for name in Shape.__dataclass_fields__})
        found.setdefault((shape.name(), row["state"]), {})[row["provider"]] = row
    return found
