"""The decoding benchmark: speed, memory and agreement of every contender on the same messages."""

from dataclasses import asdict, dataclass, field
from typing import Any, cast

import torch
from torch import Tensor

from dvs2s.bench.contenders import Compiled, Contender, Plain, Replies, Task, TorchInt8
from dvs2s.bench.presets import Preset, Setting
from dvs2s.bench.timing import Timed, environment, interleave, read_bandwidth, resident_bytes
from dvs2s.decoding.options import SearchOptions
from dvs2s.engine.engine import Precision, why_unavailable
from dvs2s.model import Dvs2sModel, ModelSizes

MESSAGE_WORDS = 15
REPLY_WORDS = 15


@dataclass(frozen=True)
class Row:
    """One contender at one task.

    Args:
        setting: the task.
        name: of the contender; vocabulary: ``full`` or ``dynamic``.
        ms: median of a batch's milliseconds; p99: milliseconds that 99 of 100 stay within.
        ms_per_reply, words_per_second: from the median.
        times_faster: the baseline's median over this one's; the baseline is the first contender.
        agreement: share of words equal to the plain float32 search's over the same vocabulary;
            None where that took no part.
        peak_mb: by which a run raised the process's memory.
        weights_mb: by which making the contender did.
        stages: median milliseconds by stage.
        note: what has to be known to compare it.
    """

    setting: Setting
    name: str
    vocabulary: str
    ms: float
    p99: float
    ms_per_reply: float
    words_per_second: float
    times_faster: float
    agreement: float | None
    peak_mb: float
    weights_mb: float
    stages: dict[str, float] = field(default_factory=dict)
    note: str = ""


def run_decoding(
    preset: Preset, *, threads: int, rounds: int, seed: int, clock: str = "wall"
) -> tuple[list[Row], dict[str, Any]]:
    """Returns a row for every contender at every setting, and the machine that they ran on.

    Args:
        preset: the grid; its model gets random weights.
        threads: of every contender, at least 1.
        rounds: 0 for the preset's.
        seed: of weights and messages.
        clock: "wall", or "cpu" for the process's own seconds; stages are by the wall clock.
    """
    torch.set_num_threads(threads)
    machine = environment() | {
        "threads": threads,
        "clock": clock,
        "read_gb_per_second": read_bandwidth() / 1e9,
    }
    machine["engine"] = why_unavailable() or "there"
    rows: list[Row] = []
    for size in dict.fromkeys(setting.vocabulary_size for setting in preset.settings):
        torch.manual_seed(seed)
        model = random_model(preset.at(size))
        contenders, weights = _contenders(preset, model, threads)
        for setting in preset.settings:
            if setting.vocabulary_size == size:
                rows += _run(setting, contenders, weights, rounds or preset.rounds, seed, clock)
    return rows, machine


def as_json(rows: list[Row], machine: dict[str, Any]) -> dict[str, Any]:
    """Returns plain JSON types."""
    return {"machine": machine, "rows": [asdict(row) for row in rows]}


def as_table(rows: list[Row]) -> str:
    """Returns lines of text for people, a block for every setting."""
    lines: list[str] = []
    for setting in dict.fromkeys(row.setting for row in rows):
        kind = "greedy" if setting.beam == 1 else f"beam {setting.beam}"
        lines.append(
            f"\nV = {setting.vocabulary_size:,}, |T| = {setting.num_words:,}, "
            f"batch {setting.batch}, {kind}, {MESSAGE_WORDS} words in, {REPLY_WORDS} out"
        )
        lines.append(
            f"{'':46}{'vocabulary':>11}{'ms':>10}{'p99':>10}{'words/s':>10}{'faster':>8}"
            f"{'same':>7}{'peak MB':>9}  stages, ms"
        )
        for row in rows:
            if row.setting == setting:
                lines.append(_line(row))
    return "\n".join(lines).lstrip("\n")


def _line(row: Row) -> str:
    stages = ", ".join(f"{name} {ms:.1f}" for name, ms in row.stages.items())
    same = "-" if row.agreement is None else f"{row.agreement:.3f}"
    note = f"  {row.note}" if row.note else ""
    return (
        f"{row.name:46}{row.vocabulary:>11}{row.ms:10.2f}{row.p99:10.2f}"
        f"{row.words_per_second:10.0f}{row.times_faster:8.1f}{same:>7}{row.peak_mb:9.1f}"
        f"  {stages}{note}"
    )


@torch.no_grad()
def random_model(sizes: ModelSizes) -> Dvs2sModel:
    """Returns a model of random weights whose word predictor has a trained one's proportions.

    Its biases are the prior that training starts from, by Zipf's law. Its rows and hidden vectors
    are as long as those of a model trained on DailyDialog, in 64 directions and in all others:
    1.14 and 0.95, 7.4 and 2.1. How many rows have to be read turns on that.
    """
    model = Dvs2sModel(sizes).eval()
    predictor, width = model.word_predictor, sizes.predictor_size
    ranks = torch.arange(1, sizes.vocabulary_size - sizes.num_fixed + 1)
    predictor.set_prior(0.5 / ranks.float())
    leading = torch.linalg.qr(torch.randn(width, min(64, width // 2))).Q
    predictor.output.weight.copy_(_stretched(predictor.output.weight, leading, 1.14, 0.95))
    bag = float(predictor.bags.weight.std()) * (2 * sizes.bag_size) ** 0.5
    hidden = _stretched(predictor.hidden.weight.T, leading, 7.4, 2.1)
    predictor.hidden.weight.copy_(hidden.T / bag)
    return model


def _stretched(rows: Tensor, leading: Tensor, along: float, across: float) -> Tensor:
    """Returns random rows that are so long along the leading directions and across them."""
    rows = torch.randn_like(rows)
    inside: Tensor = rows @ leading @ leading.T
    rest: Tensor = rows - inside
    stretched: Tensor = inside * (along / leading.shape[1] ** 0.5) + rest * (
        across / (rows.shape[1] - leading.shape[1]) ** 0.5
    )
    return stretched


def _contenders(
    preset: Preset, model: Dvs2sModel, threads: int
) -> tuple[list[Contender], list[float]]:
    made: list[Contender] = []
    weights: list[float] = []
    for kind, vocabulary in preset.contenders:
        if kind in ("fp32", "bf16", "int8") and why_unavailable():
            continue
        before = resident_bytes()
        made.append(_contender(kind, vocabulary, model, threads))
        weights.append(max(0.0, (resident_bytes() - before) / 1e6))
    return made, weights


def _contender(kind: str, vocabulary: str, model: Dvs2sModel, threads: int) -> Contender:
    match kind:
        case "plain":
            return Plain(model, vocabulary)
        case "torch_int8":
            return TorchInt8(model)
        case _:
            return Compiled(model, vocabulary, cast(Precision, kind), threads)


def _run(
    setting: Setting,
    contenders: list[Contender],
    weights: list[float],
    rounds: int,
    seed: int,
    clock: str,
) -> list[Row]:
    options = SearchOptions(
        kind="greedy" if setting.beam == 1 else "beam",
        beam=setting.beam,
        min_length=REPLY_WORDS,
        max_length=REPLY_WORDS,
    )
    generator = torch.Generator().manual_seed(seed)
    warm_up = 1
    shape = (warm_up + rounds, setting.batch, MESSAGE_WORDS)  # new messages every round
    messages = torch.randint(5, setting.vocabulary_size, shape, generator=generator)
    replies: list[list[Replies]] = [[] for _ in contenders]

    def runner(index: int) -> Any:
        def run(number: int) -> dict[str, float]:
            task = Task(messages[number], options, setting.num_words)
            found, stages = contenders[index].decode(task)
            replies[index].append(found)
            return stages

        return run

    title = f"V {setting.vocabulary_size:,} batch {setting.batch} beam {setting.beam}"
    runs = [runner(i) for i in range(len(contenders))]
    timed = interleave(runs, rounds=rounds, warm_up=warm_up, title=title, clock=clock)
    baseline = timed[0].quantile(0.5)
    return [
        _row(setting, contender, result, baseline, memory, _agreement(i, contenders, replies))
        for i, (contender, result, memory) in enumerate(
            zip(contenders, timed, weights, strict=True)
        )
    ]


def _row(
    setting: Setting,
    contender: Contender,
    timed: Timed,
    baseline: float,
    weights_mb: float,
    agreement: float | None,
) -> Row:
    median = timed.quantile(0.5)
    return Row(
        setting,
        contender.name,
        contender.vocabulary,
        ms=median * 1e3,
        p99=timed.quantile(0.99) * 1e3,
        ms_per_reply=median * 1e3 / setting.batch,
        words_per_second=setting.batch * REPLY_WORDS / median,
        times_faster=baseline / median,
        agreement=agreement,
        peak_mb=timed.peak_bytes / 1e6,
        weights_mb=weights_mb,
        stages={name: seconds * 1e3 for name, seconds in timed.median_stages().items()},
    )


def _agreement(
    index: int, contenders: list[Contender], replies: list[list[Replies]]
) -> float | None:
    """Returns the share of words that the plain search gives too, place by place."""
    mine = contenders[index]
    for other, theirs in zip(contenders, replies, strict=True):
        if type(other) is Plain and other.vocabulary == mine.vocabulary:
            pairs = [
                (a, b)
                for one, two in zip(replies[index], theirs, strict=True)
                for x, y in zip(one, two, strict=True)
                for a, b in zip(x, y, strict=True)
            ]
            return sum(a == b for a, b in pairs) / len(pairs)
    return None
