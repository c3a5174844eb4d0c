"""The default model, trained by a process of its own: the server's own does without torch."""

import signal
import subprocess
import sys
from pathlib import Path
from types import FrameType

from dvs2s.errors import CheckpointError, Interrupted
from dvs2s.training.signals import STOPPING, handled

DEFAULT = "runs/smalltalk"
_UNFINISHED = ".training"
_PASSED_ON = (*STOPPING, *((signal.SIGHUP,) if hasattr(signal, "SIGHUP") else ()))


def is_unfinished() -> bool:
    """Returns whether a training that ``train_default`` began has not come to its end."""
    return (Path(DEFAULT) / _UNFINISHED).exists()


def train_default(command: tuple[str, ...] = (sys.executable, "-m", "dvs2s.cli.train")) -> None:
    """Trains it, or goes on with it.

    Signals are passed on, and waited for: the training saves what it has. It is in a session of
    its own, so that a Ctrl-C of the terminal reaches it once.

    Args:
        command: trains; tests pass another.

    Raises:
        CheckpointError: the training did not end well.
        Interrupted: a signal came.
    """
    mark = Path(DEFAULT) / _UNFINISHED
    mark.parent.mkdir(parents=True, exist_ok=True)
    mark.touch()
    received: list[int] = []
    running: list[subprocess.Popen[bytes]] = []

    def pass_on(number: int, frame: FrameType | None) -> None:
        received.append(number)
        for process in running:
            process.send_signal(number)

    with handled(_PASSED_ON, pass_on):
        running.append(subprocess.Popen(command, stdout=sys.stderr, start_new_session=True))
        for number in received:  # before it was there
            running[0].send_signal(number)
        code = running[0].wait()
    if received and code:
        raise Interrupted("training the default model was stopped: start again to go on with it")
    if code:
        raise CheckpointError(
            f"training the default model ended with code {code}: start again to go on with it"
        )
    mark.unlink()
