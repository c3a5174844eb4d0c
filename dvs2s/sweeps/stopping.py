"""One wish to stop for all jobs of a sweep: a file, so that it reaches every process."""

import os
import sys
from pathlib import Path
from types import FrameType
from typing import Self

from dvs2s.training.signals import StopSignal

FILE = ".stop"


def stop_wanted(sweep: Path) -> bool:
    """Returns whether somebody wants the jobs of ``sweep`` to save and stop."""
    return os.path.exists(sweep / FILE)


def want_stop(sweep: Path) -> None:
    """Asks all jobs of ``sweep`` to save and stop, and those not begun not to begin."""
    (sweep / FILE).touch()


class SweepStop(StopSignal):
    """While the ``with`` block lasts, a stopping signal becomes the jobs' wish to stop.

    A second Ctrl-C raises KeyboardInterrupt at once: jobs then lose what they did since their
    last checkpoint. An earlier wish is forgotten on entry; the last one stays until then.

    Args:
        sweep: the sweep's folder; its lock is held.
    """

    def __init__(self, sweep: Path) -> None:
        super().__init__()
        self._sweep = sweep

    def __enter__(self) -> Self:
        """Forgets an earlier wish and puts the handlers in place."""
        (self._sweep / FILE).unlink(missing_ok=True)
        return super().__enter__()

    def _note(self, number: int, frame: FrameType | None) -> None:
        if not stop_wanted(self._sweep):
            print("stopping: each running job saves its state", file=sys.stderr, flush=True)
        want_stop(self._sweep)
        super()._note(number, frame)
