"""What is known of a job: ``status.json`` in its folder, there whole or not at all."""

import json
import os
import socket
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from dvs2s.errors import CheckpointError, Dvs2sError
from dvs2s.training.files import replace_file, to_json
from dvs2s.training.lock import RunLock

FILE = "status.json"
TRACE = "error.txt"
LOCK = ".job.lock"
STATES = ("running", "interrupted", "failed", "pruned", "finished")
DONE = ("finished", "pruned")
"""States of a job that is not run again; a failed one is, by the next command."""


@dataclass(frozen=True)
class JobStatus:
    """Where a job stands.

    Args:
        state: one of ``STATES``. "running" of a process that is gone was killed.
        overrides: what makes this job differ, ``option=value``.
        values: what a sweeper may ask for, by name: "loss" in nats a response word, ...
        facts: sizes of the run by name, for scaling laws: "parameters", "tokens", ...
        run: the run's folder, for its checkpoint.
        error: why it failed, one line; the whole trace is in ``error.txt`` beside it.
        command: of which start of the sweep it is; a job fails once in each.
        process: number and machine of the process that runs or ran it.
    """

    state: str
    overrides: list[str] = field(default_factory=list)
    values: dict[str, float] = field(default_factory=dict)
    facts: dict[str, float] = field(default_factory=dict)
    run: str = ""
    error: str = ""
    command: str = ""
    process: list[Any] = field(default_factory=list)

    @property
    def is_done(self) -> bool:
        """Whether it has its values."""
        return self.state in DONE


def this_process() -> list[Any]:
    """Returns number and machine of this process, as ``JobStatus.process`` has them."""
    return [os.getpid(), socket.gethostname()]


def read_status(folder: Path) -> JobStatus | None:
    """Returns the status of the job in ``folder``, None where there is none.

    Raises:
        CheckpointError: the file is damaged or of another version.
    """
    path = folder / FILE
    try:
        value = json.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise CheckpointError(
            f"{path} cannot be read ({error}): remove it to run this job again"
        ) from error
    names = {option.name for option in fields(JobStatus)}
    if not isinstance(value, dict) or set(value) != names or value["state"] not in STATES:
        raise CheckpointError(f"{path} is no job's status: remove it to run this job again")
    return JobStatus(**value)


def write_status(folder: Path, status: JobStatus) -> None:
    """Puts ``status`` into the job's folder in one step.

    Raises:
        OSError: it cannot be written; the old one is as it was.
    """
    replace_file(folder / FILE, to_json(asdict(status), "status"))


def jobs(sweep: Path) -> dict[Path, JobStatus]:
    """Returns the status of every job below ``sweep``, by folder, in the folders' order.

    Raises:
        CheckpointError: a status is damaged.
    """
    found = {}
    for path in sorted(sweep.rglob(FILE)):
        status = read_status(path.parent)
        if status is not None:
            found[path.parent] = status
    return found


def is_dead(folder: Path, status: JobStatus) -> bool:
    """Returns whether a job says that it runs, and no process of this machine does run it."""
    if status.state != "running" or status.process[1:] != this_process()[1:]:
        return False
    try:
        with RunLock(folder, name=LOCK):
            return True
    except Dvs2sError:
        return False
