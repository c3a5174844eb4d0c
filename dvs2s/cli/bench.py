"""Measures: ``python -m dvs2s.cli.bench bench=decode preset=quick out=decode.json``."""

import json
import logging
from pathlib import Path
from typing import Any

import torch

from dvs2s.bench import operator_plot, operators, output_layer, routes
from dvs2s.bench.decoding import as_json, as_table, run_decoding
from dvs2s.bench.presets import PRESETS
from dvs2s.bench.timing import environment
from dvs2s.cli.configs import BenchConfig
from dvs2s.cli.entry import run
from dvs2s.cli.output import open_output
from dvs2s.engine.engine import why_unavailable
from dvs2s.ops.extension import describe

logger = logging.getLogger("dvs2s")
_ROUNDS = 15  # of the benchmarks whose presets name none


def main(config: BenchConfig) -> None:
    """Runs a benchmark, prints its table and writes its figures."""
    text, figures = _decode(config) if config.bench == "decode" else _operators(config)
    print(text, flush=True)
    if config.out:
        with open_output("out", config.out) as file:
            json.dump({"bench": config.bench, "preset": config.preset} | figures, file, indent=1)
            file.write("\n")
        if config.bench == "ops":
            _picture(figures, Path(config.out).with_suffix(".png"))


def _decode(config: BenchConfig) -> tuple[str, dict[str, Any]]:
    if why := why_unavailable():
        logger.info("the engine takes no part: %s", why)
    rows, machine = run_decoding(
        PRESETS[config.preset],
        threads=config.threads,
        rounds=config.rounds,
        seed=config.seed,
        clock=config.clock,
    )
    return as_table(rows), as_json(rows, machine)


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
