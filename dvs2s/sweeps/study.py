"""An Optuna study that goes on: what is left to try, and what was begun and not ended.

The sweeper by itself makes all its trials again on every start, and forgets the options of a
trial whose process was killed.
"""

import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dvs2s.sweeps.status import JobStatus

logger = logging.getLogger("dvs2s")


@dataclass(frozen=True)
class StudyOptions:
    """Where a study is kept.

    Args:
        storage: Optuna's URL, such as sqlite:///multirun/x/study.db.
        name: of the study.
        num_trials: how many the whole sweep makes.
        seed: of the sampler, None for none.
    """

    storage: str
    name: str
    num_trials: int
    seed: int | None


def study_options(sweeper: Mapping[str, Any]) -> StudyOptions | None:
    """Returns the study of ``hydra.sweeper``; None for another sweeper or one in memory."""
    if "optuna" not in str(sweeper.get("_target_", "")):
        return None
    storage, name = sweeper.get("storage"), sweeper.get("study_name")
    if not storage or not name:
        logger.warning(
            "this study cannot be continued: set hydra.sweeper.storage and "
            "hydra.sweeper.study_name, as conf/sweep/optuna.yaml does"
        )
        return None
    # Optuna 2.10 is written for SQLAlchemy 1.4, which says so at length
    os.environ.setdefault("SQLALCHEMY_SILENCE_UBER_WARNING", "1")
    seed = (sweeper.get("sampler") or {}).get("seed")
    return StudyOptions(str(storage), str(name), int(sweeper["n_trials"]), seed)


def resume_study(options: StudyOptions, jobs: Mapping[Path, JobStatus]) -> list[str]:
    """Sets a study in order after a stop and returns the overrides for the sweeper.

    A trial counts when it has values, or when its job failed. One that was begun and not ended
    is put first in the queue, so that the sweeper proposes the same options, whose job resumes.

    Args:
        options: where it is.
        jobs: the sweep's jobs by folder.
    """
    import optuna

    optuna.logging.set_verbosity(logging.WARNING)
    known = {summary.study_name for summary in optuna.get_all_study_summaries(options.storage)}
    if options.name not in known:
        return []
    study = optuna.load_study(study_name=options.name, storage=options.storage)
    states = optuna.trial.TrialState
    trials = study.get_trials(deepcopy=False)
    for trial in trials:
        if trial.state == states.RUNNING:  # nobody else runs here: the sweep's lock is held
            study.tell(trial.number, state=states.FAIL)
    settled = [t for t in trials if t.state == states.COMPLETE]
    keys = {_key(t.params) for t in settled}
    waiting = [t for t in trials if t.state == states.WAITING]
    queued = {_key(t.system_attrs.get("fixed_params", {})) for t in waiting}
    failed = 0
    for trial in trials:
        key = _key(trial.params)
        if trial.state in (states.COMPLETE, states.WAITING) or key in keys | queued:
            continue
        status = _job_of(trial.params, jobs)
        if status is None:
            continue  # it was drawn and never begun
        if status.state == "failed":
            failed += 1
            keys.add(key)
        else:
            study.enqueue_trial(trial.params)
            queued.add(key)
    left = max(options.num_trials - len(settled) - failed, 0)
    logger.info("study %s: %d trials made, %d left", options.name, len(settled) + failed, left)
    found = [f"hydra.sweeper.n_trials={left}"]
    if options.seed is not None:
        # with its first seed the sampler would draw its first trials once more
        found.append(f"hydra.sweeper.sampler.seed={options.seed + len(trials)}")
    return found


def _key(params: Mapping[str, Any]) -> tuple[str, ...]:
    return tuple(sorted(f"{name}={value}" for name, value in params.items()))


def _job_of(params: Mapping[str, Any], jobs: Mapping[Path, JobStatus]) -> JobStatus | None:
    """Returns the job that was given exactly these options, as the sweeper writes them."""
    wanted = set(_key(params))
    found = [status for status in jobs.values() if wanted <= set(status.overrides)]
    return found[0] if found and wanted else None
