"""What ends a training job of a sweep before its time: the sweep's stop, or the median rule."""

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from dvs2s.config import SweepConfig
from dvs2s.sweeps.pruning import MedianRule
from dvs2s.sweeps.stopping import stop_wanted
from dvs2s.training.tracker import Log


class Watch:
    """Asked by the loop before each update.

    Args:
        config: when to give up.
        sweep: the sweep's folder.
        run: this job's run.
    """

    def __init__(self, config: SweepConfig, sweep: Path, run: Path) -> None:
        self._sweep = sweep
        self._rule: MedianRule | None = None
        if config.prune == "median":
            self._rule = MedianRule(
                sweep, run, startup=config.prune_startup, warmup=config.prune_warmup
            )
        self._given_up = False

    def halt(self) -> Literal["interrupted", "pruned"] | None:
        """Returns why the job shall end here, None to go on."""
        if self._given_up:
            return "pruned"
        return "interrupted" if stop_wanted(self._sweep) else None

    def over(self, log: Log) -> Log:
        """Returns ``log`` with an eye on the validation losses that pass through it."""
        return _Watched(log, self)

    def validated(self, update: int) -> None:
        """Judges the run after a validation that is in its curve."""
        self._given_up = self._rule is not None and self._rule.gives_up(update)


class _Watched:
    def __init__(self, log: Log, watch: Watch) -> None:
        self._log, self._watch = log, watch

    def log(
        self, update: int, values: Mapping[str, float], text: Mapping[str, str] | None = None
    ) -> None:
        self._log.log(update, values, text)
        if "valid/loss" in values:
            self._watch.validated(update)
