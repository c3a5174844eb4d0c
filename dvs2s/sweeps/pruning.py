"""Giving up on a job whose validation loss is worse than the others' median at that update."""

import json
import logging
from pathlib import Path
from statistics import median

from dvs2s.errors import CheckpointError
from dvs2s.sweeps.status import jobs

logger = logging.getLogger("dvs2s")


def curve(run: Path) -> dict[int, float]:
    """Returns the validation losses of a run by update; a half-written line is left out.

    Args:
        run: the run's folder.
    """
    try:
        lines = (run / "metrics.jsonl").read_bytes().splitlines()
    except FileNotFoundError:
        return {}
    found = {}
    for line in lines:
        try:
            row = json.loads(line)
        except ValueError:
            continue
        if isinstance(row, dict) and isinstance(row.get("valid/loss"), float):
            found[int(row["update"])] = row["valid/loss"]
    return found


class MedianRule:
    """Says whether a job is worth going on with, from the curves of the finished ones.

    The curves lie in the sweep's own folder, so the rule holds for every launcher and survives
    every restart. Optuna's own pruners cannot be asked: the sweeper hands a job its options and
    not its trial, and they know nothing of several objectives.

    Args:
        sweep: the sweep's folder.
        run: this job's run; it is no judge of itself.
        startup: finished jobs with a loss at that update before anything is given up, 1 or more.
        warmup: updates before which nothing is given up.

    Source:
        Golovin et al. (2017), Google Vizier, section 3.2.2, with the value at the same update in
        place of the running mean, as Optuna's MedianPruner has it.
    """

    def __init__(self, sweep: Path, run: Path, *, startup: int, warmup: int) -> None:
        if startup < 1:
            raise ValueError(f"startup must be at least 1, got {startup}")
        self._sweep, self._run = sweep, run.resolve()
        self._startup, self._warmup = startup, warmup

    def gives_up(self, update: int) -> bool:
        """Returns whether the best loss so far is above the median of the others' at ``update``."""
        own = [loss for at, loss in curve(self._run).items() if at <= update]
        if update < self._warmup or not own:
            return False
        try:
            others = [
                curve(Path(status.run)).get(update)
                for status in jobs(self._sweep).values()
                if status.state == "finished" and Path(status.run).resolve() != self._run
            ]
        except CheckpointError as error:
            logger.warning("nothing is pruned: %s", error)
            return False
        known = [loss for loss in others if loss is not None]
        if len(known) < self._startup or min(own) <= median(known):
            return False
        logger.info(
            "pruned at update %d: best loss %.4f, median of %d finished jobs %.4f",
            update,
            min(own),
            len(known),
            median(known),
        )
        return True
