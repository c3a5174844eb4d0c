"""Measures: ``python -m dvs2s.cli.bench bench=decode preset=quick out=decode.json``."""

import json
import logging
from contextlib import ExitStack
from pathlib import Path
from typing import Any, get_args

import torch
from tqdm import tqdm

from dvs2s.bench import (
    estimators,
    operator_plot,
    operators,
    output_layer,
    precision,
    routes,
    training,
)
from dvs2s.bench.decoding import Run, run_decoding
from dvs2s.bench.presets import PRESETS
from dvs2s.bench.rows import as_json, as_markdown, as_table, draw
from dvs2s.bench.timing import environment
from dvs2s.build import loader, prepared_data, training_pairs
from dvs2s.cli.configs import BenchConfig
from dvs2s.cli.entry import run
from dvs2s.cli.output import open_output
from dvs2s.cli.runtime import checkpoint_data
from dvs2s.config import TrainConfig
from dvs2s.data.batch import Batch
from dvs2s.data.corpus import PreparedData
from dvs2s.engine.engine import Precision
from dvs2s.errors import DataError
from dvs2s.loading import load
from dvs2s.ops.extension import describe
from dvs2s.responder import Responder

logger = logging.getLogger("dvs2s")
_ROUNDS = 15  # of the benchmarks whose presets name none


def main(config: BenchConfig) -> None:
    """Runs a benchmark, prints its table and writes its figures."""
    measures = {"decode": _decode, "estimators": _estimators, "precision": _precision}
    with ExitStack() as files:  # opened first: a bad name must not cost an hour's figures
        out = config.out and files.enter_context(open_output("out", config.out))
        text, figures = measures.get(config.bench, _operators)(config)
        print(text, flush=True)
        if out:
            json.dump({"bench": config.bench, "preset": config.preset} | figures, out, indent=1)
            out.write("\n")
    if config.out and config.bench == "ops":
        _picture(figures, Path(config.out).with_suffix(".png"))


def _decode(config: BenchConfig) -> tuple[str, dict[str, Any]]:
    rows, missing, machine = run_decoding(
        PRESETS[config.preset],
        Run(config.threads, rounds=config.rounds, seed=config.seed, clock=config.clock),
    )
    if config.out:
        page = Path(config.out).with_suffix(".md")
        page.write_text(as_markdown(rows, missing, machine), encoding="utf-8")
        try:
            draw(rows, page.with_suffix(".png"))
        except ImportError as error:
            logger.info("no picture (%s): pip install 'dvs2s[bench]'", error)
    return as_table(rows, missing), as_json(rows, missing, machine)


def _estimators(config: BenchConfig) -> tuple[str, dict[str, Any]]:
    torch.set_num_threads(config.threads)
    torch.manual_seed(config.seed)
    responder = load(config.checkpoint, engine="plain")
    source = responder.config.data
    source.root = config.data_root or source.root
    folder = Path(source.prepared)
    data = PreparedData.open(folder) if folder.is_dir() else prepared_data(source, progress=True)
    if data.vocabulary.fingerprint != responder.vocabulary.fingerprint:
        raise DataError(f"{data.folder} was prepared with another vocabulary than the checkpoint's")
    preset = estimators.PRESETS[config.preset]
    responder.config.trainer.batch_size = preset.pairs
    split = "valid" if "valid" in data.splits else "train"
    report = estimators.run(
        config.preset,
        responder.model,
        _batches(responder.config, data, "train", preset.warm_up),
        _batches(responder.config, data, split, preset.batches),
    )
    origin = {"checkpoint": str(config.checkpoint), "data": source.name, "split": split}
    return estimators.table(report), {"machine": environment(), **origin, **report}


def _precision(config: BenchConfig) -> tuple[str, dict[str, Any]]:
    torch.set_num_threads(config.threads)
    first = load(config.checkpoint, engine="compiled", precision="fp32")
    responders = {"fp32": first} | {
        name: Responder(
            first.model, first.vocabulary, first.config, engine="compiled", precision=name
        )
        for name in get_args(Precision)[1:]
    }
    split = "valid"  # so that nobody tunes a precision on the test
    data = checkpoint_data(first, config.data_root, split)
    count = precision.PRESETS[config.preset]
    with tqdm(total=2 * len(responders) * count, disable=None) as bar:
        report = precision.run(
            responders,
            data.split(split),
            messages=count,
            search=first.search_config(),
            advance=bar.update,
        )
        bar.total = bar.n
    origin = {"checkpoint": str(config.checkpoint), "split": split}
    return precision.table(report), {"machine": environment(), **origin, **report}


def _batches(config: TrainConfig, data: PreparedData, split: str, count: int) -> list[Batch]:
    """Returns the first batches of a split in the order of training."""
    source = loader(config, training_pairs(config, data, split))
    return [next(source) for _ in range(count)]


def _operators(config: BenchConfig) -> tuple[str, dict[str, Any]]:
    torch.set_num_threads(config.threads)
    logger.info("sparse softmax on cpu: %s", describe())
    rounds, preset = config.rounds or _ROUNDS, config.preset
    report: dict[str, Any]
    if config.bench == "ops":
        report = operators.run(preset, repeats=rounds, compiled=config.compiled, progress=True)
        text = operators.table(report)
    elif config.bench == "routes":
        report = routes.run(preset, repeats=rounds, progress=True)
        text = routes.table(report)
    elif config.bench == "train":
        clock, seed = config.clock, config.seed
        report = training.run(preset, rounds=config.rounds, seed=seed, clock=clock)
        text = training.table(report)
    else:
        report = output_layer.run(preset, repeats=rounds)
        text = output_layer.table(report)
    return text, {"machine": environment(), **report}


def _picture(report: dict[str, Any], path: Path) -> None:
    try:
        operator_plot.draw(report, path)
    except ImportError as error:
        logger.info("no picture (%s): pip install 'dvs2s[bench]'", error)


if __name__ == "__main__":
    run("bench", BenchConfig, main)
