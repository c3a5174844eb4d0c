"""The runs of a table: whatever is missing is trained, by one command or by several at once."""

import json
import logging
import time
from dataclasses import asdict
from pathlib import Path

from dvs2s.cli.table_plan import Plan
from dvs2s.cli.train import changed, saved_config, train_run
from dvs2s.config import TrainConfig
from dvs2s.data.corpus import PreparedData
from dvs2s.errors import CheckpointError, Interrupted, InUseError
from dvs2s.training.checkpoint import read_config, resolve
from dvs2s.training.files import replace_text
from dvs2s.training.lock import RunLock

logger = logging.getLogger("dvs2s")
_FINISHED = "finished.json"
_LOOK_SECONDS = 2.0


def train_missing(plan: Plan, data: PreparedData) -> None:
    """Returns when every run has come to its end, here or in another process.

    A run that another process trains is left to it, and taken up where that process dies.

    Raises:
        Interrupted: a signal came; the run's state is saved.
        CheckpointError: a run that is there was trained otherwise.
    """
    left = plan.trainings
    says = True
    while left:
        others = {
            key: config for key, config in left.items() if not _is_trained(*key, config, data)
        }
        if others and len(others) == len(left):  # nothing was left to do but wait
            if says:
                names = ", ".join(f"{model}-{seed}" for model, seed in others)
                logger.info("waiting for runs that other processes train: %s", names)
            says = False
            time.sleep(_LOOK_SECONDS)
        left = others


def _is_trained(model: str, seed: int, config: TrainConfig, data: PreparedData) -> bool:
    """Returns whether a run has come to its end, in this call or before; False for others' runs."""
    folder = Path(config.trainer.run)
    if _is_finished(model, folder, config, data):
        return True
    try:
        with RunLock(folder):
            if _is_finished(model, folder, config, data):  # by another process, just now
                return True
            logger.info("%s, seed %d", model, seed)
            outcome = train_run(config, folder)
            if outcome.reason != "interrupted":
                replace_text(folder / _FINISHED, json.dumps(asdict(outcome)))
                return True
    except InUseError as error:
        logger.debug("%s", error)
        return False
    raise Interrupted(
        f"interrupted at update {outcome.update} of {model}, seed {seed}: "
        f"the same command continues"
    )


def _is_finished(model: str, folder: Path, config: TrainConfig, data: PreparedData) -> bool:
    if not (folder / _FINISHED).exists():
        return False
    differences = changed(read_config(resolve(folder, "last")), saved_config(config, data))
    if differences:
        raise CheckpointError(
            f"{folder} holds another run of {model}: it differs in "
            f"{', '.join(differences)}; choose another table.name, or remove the folder"
        )
    return True
