"""Measures: ``python -m dvs2s.cli.bench bench=decode preset=quick out=decode.json``."""

import json
import logging

from dvs2s.bench.decoding import as_json, as_table, run_decoding
from dvs2s.bench.presets import PRESETS
from dvs2s.cli.configs import BenchConfig
from dvs2s.cli.entry import run
from dvs2s.cli.output import open_output
from dvs2s.engine.engine import why_unavailable

logger = logging.getLogger("dvs2s")


def main(config: BenchConfig) -> None:
    """Runs a benchmark, prints its table and writes its figures."""
    if why := why_unavailable():
        logger.info("the engine takes no part: %s", why)
    preset = PRESETS[config.preset]
    rows, machine = run_decoding(
        preset, threads=config.threads, rounds=config.rounds, seed=config.seed
    )
    print(as_table(rows), flush=True)
    if config.out:
        with open_output("out", config.out) as file:
            json.dump({"preset": config.preset} | as_json(rows, machine), file, indent=1)
            file.write("\n")


if __name__ == "__main__":
    run("bench", BenchConfig, main)
