"""What a sweep came to: ``python -m dvs2s.cli.sweep folder=multirun/NAME``."""

import logging
from pathlib import Path

from dvs2s.cli.entry import run
from dvs2s.cli.output import open_output
from dvs2s.cli.sweep_options import SummaryConfig
from dvs2s.errors import ConfigError
from dvs2s.sweeps.plots import check_matplotlib, parallel_coordinates, scaling_picture
from dvs2s.sweeps.scaling import Scaling, scaling_markdown, study
from dvs2s.sweeps.summary import LOSS, Summary, summarise, to_csv, to_json, to_markdown

logger = logging.getLogger("dvs2s")

_SCALED = {"data.fraction", "trainer.max_updates", "model.hidden_size"}


def main(config: SummaryConfig) -> None:
    """Prints the table and leaves it, the pictures and the power laws in the sweep's folder."""
    if not config.folder:
        raise ConfigError("folder is missing: give folder=multirun/NAME")
    if config.pictures:
        check_matplotlib()
    folder = Path(config.folder)
    summary = summarise(folder)
    out = Path(config.out or folder)
    text = to_markdown(summary)
    scaling = _study(config, summary)
    if scaling is not None:
        text += "\n" + scaling_markdown(scaling)
    _write(out / "summary.md", text)
    _write(out / "summary.csv", to_csv(summary))
    _write(out / "summary.json", to_json(summary))
    if config.pictures and any(LOSS in row["values"] for row in summary.rows):
        parallel_coordinates(summary, out / "parallel.png")
        if scaling is not None:
            scaling_picture(scaling, out / "scaling.png")
    print(text, end="")
    logger.info("written to %s", out)


def _study(config: SummaryConfig, summary: Summary) -> Scaling | None:
    """Returns the laws where they are wanted: asked for, or two sizes or more were swept."""
    wanted = len(_SCALED & set(summary.options)) > 1
    if config.scaling == "no" or (config.scaling == "auto" and not wanted):
        return None
    return study(summary, resamples=config.resamples)


def _write(path: Path, text: str) -> None:
    with open_output("out", str(path)) as file:
        file.write(text)


if __name__ == "__main__":
    run("summary", SummaryConfig, main)
