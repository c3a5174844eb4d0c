"""A sweep from its command line to its exit code."""

import re
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import hydra
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import OmegaConf

from dvs2s.errors import ConfigError
from dvs2s.sweeps.plan import Plan, open_sweep, overrides_in, plan_of
from dvs2s.sweeps.status import JobStatus, is_dead, jobs, write_status
from dvs2s.sweeps.stopping import SweepStop, stop_wanted
from dvs2s.sweeps.study import resume_study, study_options
from dvs2s.training.lock import RunLock

DONE, FAILED, RESUME_ME = 0, 1, 75
"""Exit codes: every job is done; a job failed; stopped, the same command goes on."""

_DIR, _EXCLUDED = "hydra.sweep.dir", "hydra.job.config.override_dirname.exclude_keys"
_EXTRAS = {"joblib": "sweep", "optuna": "sweep", "submitit": "slurm", "ray": "ray"}
_GRACE_SECONDS = 10.0
_LOST = "its process died without a word (killed, or out of memory)"


def run_sweep(
    config_name: str, arguments: list[str], config_dir: Path, launch: Callable[[list[str]], None]
) -> int:
    """Runs the jobs of a sweep that are not done, and returns the command's exit code.

    Args:
        config_name: the primary file.
        arguments: the command line without the program.
        config_dir: the folder of the YAML files.
        launch: runs Hydra with a command line; what it raises ends one attempt, not the sweep.

    Raises:
        ConfigError: options that do not fit, a plugin that is not installed.
        Dvs2sError: another process runs this sweep.
    """
    plan = plan_of(arguments)
    folder, added = _placed(plan, arguments)
    folder.mkdir(parents=True, exist_ok=True)
    with RunLock(folder):
        options = _hydra_options(config_name, [*_overrides(arguments), *added], config_dir)
        open_sweep(folder, plan)
        with SweepStop(folder):
            code = _launch_all(folder, [*arguments, *added], options, launch)
        return _report(folder, code)


def _placed(plan: Plan, arguments: list[str]) -> tuple[Path, list[str]]:
    """Returns the sweep's folder, and the options that send its jobs there."""
    given = {o.key_or_group: o for o in overrides_in(arguments)}
    folder = Path(str(given[_DIR].value())) if _DIR in given else plan.folder
    added = [] if _DIR in given else [f"{_DIR}='{folder}'"]
    if _EXCLUDED not in given:
        # a job is named by what makes it differ from its neighbours
        keys = sorted({o.get_key_element().lstrip("+~") for o in overrides_in(arguments)})
        fixed = [key for key in keys if key not in plan.swept and not key.startswith("hydra")]
        added.append(f"{_EXCLUDED}=[{','.join(fixed)}]")
    return folder, added


def _overrides(arguments: list[str]) -> list[str]:
    return [override.input_line or "" for override in overrides_in(arguments)]


def _hydra_options(config_name: str, overrides: list[str], config_dir: Path) -> dict[str, Any]:
    """Returns ``sweeper`` and ``launcher`` of ``hydra`` as this command composes them.

    Raises:
        ConfigError: it does not compose, as when a plugin is missing.
    """
    try:
        with hydra.initialize_config_dir(str(config_dir), version_base="1.3"):
            composed = (
                GlobalHydra.instance()
                .config_loader()
                .load_configuration(config_name, overrides=overrides, run_mode=RunMode.MULTIRUN)
            )
        nodes = (composed.hydra.sweeper, composed.hydra.launcher)
        sweeper, launcher = (OmegaConf.to_container(node, resolve=True) for node in nodes)
    except HydraException as error:
        line = " ".join(str(error).split())
        raise ConfigError(f"{line}{_missing_extra(line)}") from error
    return {"sweeper": sweeper, "launcher": launcher}


def _missing_extra(line: str) -> str:
    """Returns what to install for a launcher or sweeper that Hydra does not find."""
    names = re.findall(r"Could not \w+ '?/?hydra/(?:launcher|sweeper)/?(\w*)", line)
    for name in names:
        for start, extra in _EXTRAS.items():
            if name.startswith(start):
                return f": pip install 'dvs2s[{extra}]'"
    return ""


def _launch_all(
    folder: Path,
    arguments: list[str],
    options: dict[str, Any],
    launch: Callable[[list[str]], None],
) -> int:
    """Launches until no job is left over from a launcher that broke; returns its last exit code.

    A process that dies takes the whole pool of joblib with it. What ran then is run again, one
    job at a time, so that the next death names its job.
    """
    study = study_options(options["sweeper"])
    alone: list[str] = []
    while True:
        settled = resume_study(study, jobs(folder)) if study else []
        try:
            launch([*arguments, *settled, *alone])
            code: str | int | None = 0
        except SystemExit as end:
            code = end.code
        except KeyboardInterrupt:
            print("interrupted at once", file=sys.stderr)
            return RESUME_ME
        dead = _dead(folder)
        if stop_wanted(folder) or not dead:
            return FAILED if code else DONE
        if len(dead) == 1:
            at, status = next(iter(dead.items()))
            write_status(at, replace(status, state="failed", error=_LOST))
        if "n_jobs" not in options["launcher"]:
            return FAILED
        print(f"{len(dead)} jobs died with their pool: going on one by one", file=sys.stderr)
        # not n_jobs=1: joblib would run the jobs in this process, which would die with them
        alone = ["hydra.launcher.n_jobs=2", "hydra.launcher.pre_dispatch=1"]


def _dead(folder: Path) -> dict[Path, JobStatus]:
    """Returns the jobs whose process is gone, after those of a broken pool had time to go."""
    end = time.monotonic() + _GRACE_SECONDS
    while True:
        running = {at: s for at, s in jobs(folder).items() if s.state == "running"}
        dead = {at: status for at, status in running.items() if is_dead(at, status)}
        if len(dead) == len(running) or time.monotonic() > end:
            return dead
        time.sleep(0.1)


def _report(folder: Path, code: int) -> int:
    """Prints what became of the jobs and returns the command's exit code."""
    found = jobs(folder)
    count = {state: _count(found, state) for state in ("finished", "pruned", "failed")}
    left = len(found) - sum(count.values())
    parts = [f"{number} {state}" for state, number in {**count, "unfinished": left}.items()]
    stopped = stop_wanted(folder)
    print(f"{folder}: {len(found)} jobs, {', '.join(parts)}", file=sys.stderr)
    for at, status in found.items():
        if status.state == "failed":
            print(f"  failed: {at.relative_to(folder)}: {status.error}", file=sys.stderr)
    if stopped or left or code == RESUME_ME:
        print("stopped: the same command continues", file=sys.stderr)
        return RESUME_ME
    print(f"summary: python -m dvs2s.cli.sweep folder={folder}", file=sys.stderr)
    return FAILED if count["failed"] or not found else code


def _count(found: dict[Path, JobStatus], state: str) -> int:
    return sum(status.state == state for status in found.values())
