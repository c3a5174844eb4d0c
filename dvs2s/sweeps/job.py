"""One job of a sweep: done once, resumed where it was stopped, and never lost when it fails."""

import logging
import os
import sys
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode

from dvs2s.errors import Dvs2sError, Interrupted
from dvs2s.sweeps.plan import command_of, owner
from dvs2s.sweeps.status import LOCK, TRACE, JobStatus, read_status, this_process, write_status
from dvs2s.sweeps.stopping import stop_wanted, want_stop
from dvs2s.training.files import replace_file
from dvs2s.training.lock import RunLock

logger = logging.getLogger("dvs2s")


@dataclass(frozen=True)
class Measured:
    """What a job has found out.

    Args:
        values: what a sweeper may ask for, by name.
        facts: sizes of the run, by name.
        run: the run's folder.
        is_pruned: whether it was given up before its end.
    """

    values: dict[str, float] = field(default_factory=dict)
    facts: dict[str, float] = field(default_factory=dict)
    run: str = ""
    is_pruned: bool = False


@dataclass(frozen=True)
class Place:
    """Where a job is.

    Args:
        folder: the job's own.
        sweep: the folder of all its jobs.
        overrides: all options of the job, ``option=value``.
    """

    folder: Path
    sweep: Path
    overrides: tuple[str, ...]

    def gives(self, option: str) -> bool:
        """Returns whether ``option`` was given on the command line or by the sweeper."""
        return any(o.partition("=")[0].lstrip("+") == option for o in self.overrides)


def current_place() -> Place | None:
    """Returns where the job that Hydra runs here is; None outside of a sweep."""
    if not HydraConfig.initialized() or HydraConfig.get().mode != RunMode.MULTIRUN:
        return None
    config = HydraConfig.get()
    return Place(
        Path(config.runtime.output_dir), Path(config.sweep.dir), tuple(config.overrides.task)
    )


def run_job(
    place: Place, task: Callable[[], Measured], returns: Sequence[str]
) -> float | list[float] | None:
    """Runs a job unless it is done, and returns what its sweeper waits for; None for nothing.

    Nothing that goes wrong in a job goes further than its ``status.json``: a launcher would stop
    the jobs beside it.

    Args:
        place: where it is.
        task: does the work; Interrupted when it was stopped and can go on.
        returns: names of the values to return.
    """
    try:
        with RunLock(place.folder, name=LOCK):
            status = _finish(place, task)
    except Dvs2sError as error:
        logger.error("%s: %s", place.folder, error)
        return None
    if status.state == "interrupted" and owner(place.sweep) == os.getpid():
        sys.exit(75)  # the launcher is this process: there is nobody else to wait for
    if not status.is_done:
        return None
    missing = [name for name in returns if name not in status.values]
    if missing:
        logger.error(
            "%s is done without %s: remove %s/status.json to measure it",
            place.folder,
            ", ".join(missing),
            place.folder,
        )
        return None
    found = [status.values[name] for name in returns]
    return found[0] if len(found) == 1 else found


def _finish(place: Place, task: Callable[[], Measured]) -> JobStatus:
    """Returns the job's status after it was run, where there was something to run."""
    command = command_of(place.sweep)
    former = read_status(place.folder)
    if former is not None and former.is_done:
        logger.info("%s is %s already", place.folder, former.state)
        return former
    if former is not None and former.state == "failed" and former.command == command:
        return former
    status = JobStatus("running", list(place.overrides), command=command, process=this_process())
    if stop_wanted(place.sweep):
        return replace(status, state="interrupted")
    write_status(place.folder, status)
    status = _attempt(place, task, status)
    write_status(place.folder, status)
    return status


def _attempt(place: Place, task: Callable[[], Measured], status: JobStatus) -> JobStatus:
    try:
        found = task()
    except (Interrupted, KeyboardInterrupt):
        if owner(place.sweep) == os.getpid():  # the next job would begin in this very process
            want_stop(place.sweep)
        return replace(status, state="interrupted")
    except SystemExit as error:
        return _failed(place, status, Dvs2sError(f"it ended with code {error.code}"))
    except Exception as error:
        return _failed(place, status, error)
    return replace(
        status,
        state="pruned" if found.is_pruned else "finished",
        values=found.values,
        facts=found.facts,
        run=found.run,
    )


def _failed(place: Place, status: JobStatus, error: BaseException) -> JobStatus:
    plain = isinstance(error, Dvs2sError | ValueError)
    line = " ".join((str(error) if plain else f"{type(error).__name__}: {error}").split())
    trace: Any = "".join(traceback.format_exception(error))
    try:
        replace_file(place.folder / TRACE, trace.encode("utf-8", "replace"))
    except OSError as second:
        logger.error("cannot keep the trace in %s: %s", place.folder / TRACE, second)
    logger.error("%s failed: %s", place.folder, line)
    return replace(status, state="failed", error=line)
