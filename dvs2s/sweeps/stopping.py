"""One wish to stop for all jobs of a sweep: a file, so that it reaches every process."""

import os
import signal
import sys
import threading
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any

from dvs2s.training.signals import STOPPING

FILE = ".stop"


def stop_wanted(sweep: Path) -> bool:
    """Returns whether somebody wants the jobs of ``sweep`` to save and stop."""
    return os.path.exists(sweep / FILE)


def want_stop(sweep: Path) -> None:
    """Asks all jobs of ``sweep`` to save and stop, and those not begun not to begin."""
    (sweep / FILE).touch()


class SweepStop:
    """While the ``with`` block lasts, a stopping signal becomes the jobs' wish to stop.

    A second Ctrl-C raises KeyboardInterrupt at once: jobs then lose what they did since their
    last checkpoint. An earlier wish is forgotten on entry.

    Args:
        sweep: the sweep's folder; its lock is held.
    """

    def __init__(self, sweep: Path) -> None:
        self._sweep = sweep
        self._interrupts = 0
        self._former: dict[int, Any] = {}

    def __enter__(self) -> "SweepStop":
        """Puts the handlers in place."""
        (self._sweep / FILE).unlink(missing_ok=True)
        if threading.current_thread() is threading.main_thread():
            self._former = {number: signal.signal(number, self._note) for number in STOPPING}
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Puts the former handlers back; the wish stays until the next start."""
        for number, handler in self._former.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
        self._former = {}

    def _note(self, number: int, frame: FrameType | None) -> None:
        if not stop_wanted(self._sweep):
            print("stopping: each running job saves its state", file=sys.stderr, flush=True)
        want_stop(self._sweep)
        if number == signal.SIGINT:
            self._interrupts += 1
            if self._interrupts > 1:
                raise KeyboardInterrupt
