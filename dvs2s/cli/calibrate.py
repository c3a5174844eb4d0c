"""Finds vocabularies with a guarantee: ``python -m dvs2s.cli.calibrate checkpoint=... alpha=0.05``.

The levels are stored beside the checkpoint's weights, for ``search.vocabulary=conformal``.
"""

import json
import sys
from collections.abc import Sequence

import torch
from tqdm import tqdm

from dvs2s.cli.configs import CalibrateConfig
from dvs2s.cli.entry import run
from dvs2s.cli.output import open_output
from dvs2s.cli.runtime import checkpoint_data
from dvs2s.coverage.calibration import Calibration, write
from dvs2s.coverage.corpus import Achieved, figures, find_needs, measure
from dvs2s.coverage.levels import find_levels
from dvs2s.data.corpus import PreparedData
from dvs2s.devices import say_kernels
from dvs2s.loading import load
from dvs2s.responder import Responder

_COLUMNS = ("guarantee", "nominal", "achieved", "by", "mean |T|", "median", "5 %", "95 %")


def main(config: CalibrateConfig) -> None:
    """Stores levels, and prints what they give on a split that had no part in finding them."""
    responder = load(
        config.checkpoint, device=config.device, engine="plain", recalibrate=["vocabularies"]
    )
    if config.threads:
        torch.set_num_threads(config.threads)
    say_kernels(config.device)
    data = checkpoint_data(responder, config.data_root, config.split)
    report = config.report if config.report in data.splits else ""
    with open_output("out", config.out or "-") as out:
        calibration = _calibrated(config, responder, data)
        assert responder.source is not None
        path = write(responder.source, calibration)
        print(f"calibrated on {calibration.pairs} pairs of {config.split}: {path}", file=sys.stderr)
        responder.selector.calibration = calibration
        found = _measured(responder, data, report, calibration) if report else []
        if config.out:
            content = {"split": report, "pairs": calibration.pairs}
            json.dump(content | {"levels": figures(found)}, out)
    print(as_text(found, report) if found else "no split to report on: none was given or is there")


def _calibrated(config: CalibrateConfig, responder: Responder, data: PreparedData) -> Calibration:
    corpus = data.split(config.split)
    with tqdm(total=len(corpus), unit=" pairs", file=sys.stderr, disable=None) as bar:
        needs = find_needs(responder, corpus, advance=bar.update)
    levels = find_levels(needs, config.alpha, vocabulary_size=len(responder.vocabulary))
    return Calibration(levels, config.split, data.fingerprint, len(corpus))


def _measured(
    responder: Responder, data: PreparedData, split: str, calibration: Calibration
) -> list[Achieved]:
    used = responder.config.search.message_words
    levels = [level for level in calibration.levels if level.message_words == used]
    corpus = data.split(split)
    with tqdm(total=len(corpus), unit=" pairs", file=sys.stderr, disable=None) as bar:
        return measure(responder, corpus, levels, advance=bar.update)


def as_text(found: Sequence[Achieved], split: str) -> str:
    """Returns a table for a terminal, a row a level and way to choose T."""
    rows: list[tuple[str, ...]] = [_COLUMNS]
    for one in found:
        level, figures = one.level, one.as_dict()
        quantiles = figures["|T| quantiles"]
        assert isinstance(quantiles, dict)
        what = "all gold words" if level.kind == "all" else "share of gold words"
        full = level.threshold is None
        how = f"β ≥ {level.threshold:.3g}" if not full else "full vocabulary"
        row = (
            what,
            f"{1 - level.alpha:.3f}",
            f"{one.coverage:.3f}",
            how if one.rule == "threshold" else f"|T| = {level.size}",
            f"{one.sizes.mean():.0f}",
            *(f"{quantiles[q]:.0f}" for q in ("0.5", "0.05", "0.95")),
        )
        rows.append(row)
    widths = [max(len(row[i]) for row in rows) for i in range(len(_COLUMNS))]
    lines = ["  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)) for row in rows]
    return "\n".join([f"on {split}, which had no part in the calibration:", *lines])


if __name__ == "__main__":
    run("calibrate", CalibrateConfig, main)
