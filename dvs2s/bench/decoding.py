"""The decoding benchmark: speed, memory and agreement of every contender on the same messages."""

import logging
from dataclasses import dataclass, replace
from typing import Any, cast

import torch

from dvs2s.bench.contenders import Compiled, Contender, Plain, Replies, Task, TorchInt8
from dvs2s.bench.floor import Rates, floor_seconds, measure_rates
from dvs2s.bench.peers import CTranslate2, HuggingFace, RandomTransformer, why_no_peers
from dvs2s.bench.presets import Preset, Setting
from dvs2s.bench.random_model import random_model
from dvs2s.bench.rows import MESSAGE_WORDS, REPLY_WORDS, Missing, Row
from dvs2s.bench.timing import Timed, environment, interleave, read_bandwidth, resident_bytes
from dvs2s.decoding.options import SearchOptions
from dvs2s.engine.engine import Precision, why_unavailable
from dvs2s.model import ModelSizes

logger = logging.getLogger("dvs2s")
_ENGINE = ("fp32", "bf16", "int8")
_PEERS = {"huggingface": "Hugging Face generate fp32", "ctranslate2": "CTranslate2 int8"}
# References of the replies of each family, the first that takes part.
_REFERENCES = ("torch fp32, plain search", "engine fp32", "Hugging Face generate fp32")


@dataclass(frozen=True)
class Run:
    """How a grid is run.

    Args:
        threads: of every contender, at least 1.
        rounds: timed ones; 0 for the preset's.
        seed: of weights and messages.
        clock: "wall", or "cpu" for the process's own seconds; stages are by the wall clock.
    """

    threads: int
    rounds: int = 0
    seed: int = 0
    clock: str = "wall"


def run_decoding(preset: Preset, run: Run) -> tuple[list[Row], list[Missing], dict[str, Any]]:
    """Returns a row for every contender at every setting, who is missing, and the machine.

    Args:
        preset: the grid; its models get random weights.
        run: how.
    """
    torch.set_num_threads(run.threads)
    machine = environment() | {
        "threads": run.threads,
        "clock": run.clock,
        "read_gb_per_second": read_bandwidth(run.clock) / 1e9,
    }
    machine["engine"] = why_unavailable() or "there"
    rates, run = measure_rates(run.clock), replace(run, rounds=run.rounds or preset.rounds)
    present, missing = _who(preset)
    rows: list[Row] = []
    for size in dict.fromkeys(setting.vocabulary_size for setting in preset.settings):
        sizes = preset.at(size)
        contenders, weights = _contenders(present, sizes, run, preset.settings[0].num_words)
        for setting in preset.settings:
            if setting.vocabulary_size == size:
                found = _run(setting, contenders, weights, run)
                rows += [_with_floor(row, sizes, rates) for row in found]
    return rows, missing, machine


def _who(preset: Preset) -> tuple[list[tuple[str, str]], list[Missing]]:
    """Returns the preset's contenders that are here, and those that are not."""
    no_peers = why_no_peers() if any(kind in _PEERS for kind, _ in preset.contenders) else ""
    why = dict.fromkeys(_PEERS, no_peers) | dict.fromkeys(_ENGINE, why_unavailable())
    present = [one for one in preset.contenders if not why.get(one[0])]
    missing = [
        Missing(_PEERS.get(kind, f"engine {kind}"), vocabulary, why[kind])
        for kind, vocabulary in preset.contenders
        if why.get(kind)
    ]
    for one in missing:
        logger.info("%s (%s) takes no part: %s", one.name, one.vocabulary, one.why)
    return present, missing


def _contenders(
    kinds: list[tuple[str, str]], sizes: ModelSizes, run: Run, num_words: int
) -> tuple[list[Contender], list[float]]:
    torch.manual_seed(run.seed)
    model = random_model(sizes)
    peer = RandomTransformer(sizes) if any(kind in _PEERS for kind, _ in kinds) else None
    made: list[Contender] = []
    weights: list[float] = []
    for kind, vocabulary in kinds:
        before = resident_bytes()
        match kind:
            case "plain":
                made.append(Plain(model, vocabulary))
            case "torch_int8":
                made.append(TorchInt8(model))
            case "huggingface":
                assert peer is not None
                made.append(HuggingFace(peer))
            case "ctranslate2":
                assert peer is not None
                made.append(CTranslate2(peer, vocabulary, run.threads, num_words))
            case _:
                made.append(Compiled(model, vocabulary, cast(Precision, kind), run.threads))
        weights.append(max(0.0, (resident_bytes() - before) / 1e6))
    return made, weights


def _run(
    setting: Setting, contenders: list[Contender], weights: list[float], run: Run
) -> list[Row]:
    options = SearchOptions(
        kind="greedy" if setting.beam == 1 else "beam",
        beam=setting.beam,
        min_length=REPLY_WORDS,
        max_length=REPLY_WORDS,
    )
    generator = torch.Generator().manual_seed(run.seed)
    warm_up = 1
    shape = (warm_up + run.rounds, setting.batch, MESSAGE_WORDS)  # new messages every round
    messages = torch.randint(5, setting.vocabulary_size, shape, generator=generator)
    replies: list[list[Replies]] = [[] for _ in contenders]

    def runner(index: int) -> Any:
        def decode(number: int) -> dict[str, float]:
            task = Task(messages[number], options, setting.num_words)
            found, stages = contenders[index].decode(task)
            replies[index].append(found)
            return stages

        return decode

    timed = interleave(
        [runner(i) for i in range(len(contenders))],
        rounds=run.rounds,
        warm_up=warm_up,
        title=f"V {setting.vocabulary_size:,} batch {setting.batch} beam {setting.beam}",
        clock=run.clock,
    )
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
        p95=timed.quantile(0.95) * 1e3,
        p99=timed.quantile(0.99) * 1e3,
        ms_per_reply=median * 1e3 / setting.batch,
        words_per_second=setting.batch * REPLY_WORDS / median,
        times_faster=baseline / median,
        agreement=agreement,
        peak_mb=timed.peak_bytes / 1e6,
        weights_mb=weights_mb,
        stages={name: seconds * 1e3 for name, seconds in timed.median_stages().items()},
        note=contender.note,
    )


def _with_floor(row: Row, sizes: ModelSizes, rates: Rates | None) -> Row:
    precision = row.name.removeprefix("engine ")
    if rates is None or precision not in _ENGINE:
        return row
    seconds = floor_seconds(
        sizes,
        row.setting,
        rates,
        precision=precision,
        dynamic=row.vocabulary == "dynamic",
        words_in=MESSAGE_WORDS,
        words_out=REPLY_WORDS,
    )
    return replace(row, floor_ms=seconds * 1e3)


def _agreement(
    index: int, contenders: list[Contender], replies: list[list[Replies]]
) -> float | None:
    """Returns the share of words that the reference gives too, place by place."""
    mine = contenders[index]
    for name in _REFERENCES:
        for other, theirs in zip(contenders, replies, strict=True):
            alike = other.vocabulary == mine.vocabulary and other.family == mine.family
            if other.name == name and alike:
                return _share(replies[index], theirs)
    return None


def _share(mine: list[Replies], theirs: list[Replies]) -> float:
    pairs = [
        (a, b)
        for one, two in zip(mine, theirs, strict=True)
        for x, y in zip(one, two, strict=True)
        for a, b in zip(x, y, strict=True)
    ]
    return sum(a == b for a, b in pairs) / len(pairs)
