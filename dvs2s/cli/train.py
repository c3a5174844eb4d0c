"""Trains a model: ``python -m dvs2s.cli.train experiment=smalltalk``."""

import logging
from contextlib import closing, nullcontext
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from dvs2s.build import prefetched, prepared_data, training_pairs
from dvs2s.build_training import new_model, new_objective, new_optimizer, new_replica
from dvs2s.cli.entry import run
from dvs2s.config import TrainConfig
from dvs2s.data.corpus import PreparedData
from dvs2s.devices import check_compiler, check_device, say_kernels
from dvs2s.errors import CheckpointError, Interrupted
from dvs2s.parallel.errors import WorkerLostError
from dvs2s.parallel.group import SOLO, Group, open_group, own_device
from dvs2s.sweeps.job import Measured, current_place
from dvs2s.sweeps.measure import measure_run
from dvs2s.sweeps.watch import Watch
from dvs2s.training.checkpoint import prepare_run, read_config
from dvs2s.training.lock import RunLock
from dvs2s.training.loop import Outcome, train
from dvs2s.training.options import LoopOptions
from dvs2s.training.resume import Saver, restore
from dvs2s.training.signals import stops_interrupt
from dvs2s.training.tracker import Silence, Tracker
from dvs2s.validation import Validation

logger = logging.getLogger("dvs2s")

# Options that may change on resume: they move or lengthen a run, not what it computes.
_FREE = {
    "trainer": {"run", "max_minutes", "keep", "progress", "resume", "threads", "device", "samples"}
    | {"prefetch"},
    "data": {"root", "prepared", "workers"},
    "search": None,
    "sweep": None,
}


def main(config: TrainConfig) -> float | Measured | None:
    """Trains until the end, or until a signal; continues a run that is already there.

    Returns:
        the lowest validation loss; in a sweep, what the job has measured.

    Raises:
        Interrupted: a signal came; the state is saved.
    """
    config.trainer.device = own_device(config.trainer.device)
    check_device(config.trainer.device, "trainer.device")
    if config.trainer.compile:
        check_compiler(config.trainer.device, "trainer.compile")
    if config.trainer.threads:
        torch.set_num_threads(config.trainer.threads)
    place = current_place()
    if place is not None and not place.gives("trainer.run"):
        config = replace(config, trainer=replace(config.trainer, run=str(place.folder)))
    run_dir = Path(config.trainer.run)
    try:
        with stops_interrupt(), open_group(config.trainer.device) as group:
            if not group.is_first:
                logger.setLevel(logging.WARNING)
            watch = None if place is None else Watch(config.sweep, place.sweep, run_dir)
            with RunLock(run_dir) if group.is_first else nullcontext():
                outcome = train_run(config, run_dir, group, watch)
                if outcome.reason != "interrupted":
                    return outcome.best_loss if place is None else measure_run(config, outcome)
    except WorkerLostError as error:
        raise Interrupted(str(error)) from error
    except (KeyboardInterrupt, SystemExit):  # the latter from preparing, which cleans up first
        raise Interrupted(
            f"interrupted outside of the updates: the same command continues {run_dir}"
        ) from None
    raise Interrupted(
        f"interrupted at update {outcome.update}, saved in {run_dir}: the same command continues"
    )


def train_run(
    config: TrainConfig, run_dir: Path, group: Group = SOLO, watch: Watch | None = None
) -> Outcome:
    """Trains in ``run_dir``, whose lock the caller, or the first of its group, holds.

    Args:
        config: the run's.
        run_dir: its folder.
        group: the workers that train together.
        watch: ends a job of a sweep before its time; None for a run by itself.
    """
    trainer = config.trainer
    data, folder = _corpus_and_checkpoint(config, run_dir, group)
    torch.manual_seed(trainer.seed)
    model = new_model(config, data).to(trainer.device)
    objective = new_objective(config, model, data).to(trainer.device)
    optimizer, schedule = new_optimizer(config.optim, objective, max_updates=trainer.max_updates)
    saved = saved_config(config, data)
    state = _resumed(folder, saved, objective, optimizer, wanted=trainer.resume)
    update = int(folder.name.split("-")[1]) if folder and state else 0
    _introduce(config, model, data, run_dir, update)
    saver = Saver(
        run_dir,
        objective,
        optimizer,
        saved,
        Path(config.data.prepared) / "vocabulary.json",
        keep=trainer.keep,
    )
    validation = Validation(config, objective, data, group)
    pairs = training_pairs(config, data, "train")
    log = Tracker(run_dir, update=update) if group.is_first else nullcontext(Silence())
    with closing(prefetched(config, pairs)) as batches, log as tracker:
        return train(
            new_replica(config, objective, group),
            batches,
            optimizer,
            schedule,
            options=_loop_options(config, group),
            validate=validation,
            samples=validation.samples,
            save=saver if group.is_first else _save_nothing,
            tracker=watch.over(tracker) if watch else tracker,
            state=state,
            halt=watch.halt if watch else lambda: None,
        )


def _corpus_and_checkpoint(
    config: TrainConfig, run_dir: Path, group: Group
) -> tuple[PreparedData, Path | None]:
    """Returns the corpus and where to go on; the first worker prepares both for all."""
    folder = None
    if group.is_first:
        data = prepared_data(config.data, progress=config.trainer.progress != "none")
        folder = prepare_run(run_dir)
    name = group.told(str(folder) if folder else None)
    if not group.is_first:
        data = prepared_data(config.data, progress=False)
    return data, Path(name) if name else None


def _save_nothing(update: int, state: dict[str, Any], *, is_best: bool) -> None:
    """Stands for the Saver in all workers but the first."""


def saved_config(config: TrainConfig, data: PreparedData) -> dict[str, Any]:
    """Returns what a checkpoint says about its origin, plain JSON types."""
    fingerprints = {"data": data.fingerprint, "vocabulary": data.vocabulary.fingerprint}
    return {"train": asdict(config), "fingerprints": fingerprints}


def _resumed(
    folder: Path | None,
    saved: dict[str, Any],
    objective: nn.Module,
    optimizer: torch.optim.Optimizer,
    *,
    wanted: bool,
) -> dict[str, Any] | None:
    """Returns the loop's state of an earlier part of this run, loaded; None for a new run."""
    if folder is None:
        return None
    if not wanted:
        raise CheckpointError(
            f"{folder.parent.parent} already holds a run and trainer.resume=false: "
            f"choose another trainer.run or remove the folder"
        )
    differences = changed(read_config(folder), saved)
    if differences:
        raise CheckpointError(
            f"cannot continue {folder}: this command differs from the one that made it in "
            f"{', '.join(differences)}; choose another trainer.run, or the old values"
        )
    return restore(folder, objective, optimizer)


def changed(old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    """Returns the options, with both values, that forbid continuing ``old`` as ``new``."""
    found = []
    # an option younger than the checkpoint had, in effect, its default
    defaults = asdict(TrainConfig())
    if old["fingerprints"] != new["fingerprints"]:
        found.append("the corpus or its vocabulary")
    for group, options in new["train"].items():
        free = _FREE.get(group, set())
        if free is None:
            continue
        for name, value in options.items():
            before = old["train"].get(group, {}).get(name, defaults[group].get(name))
            if name not in free and before != value:
                found.append(f"{group}.{name} ({before} before, {value} now)")
    return found


def _loop_options(config: TrainConfig, group: Group) -> LoopOptions:
    trainer = config.trainer
    return LoopOptions(
        max_updates=trainer.max_updates,
        max_minutes=trainer.max_minutes,
        validate_every=trainer.validate_every,
        save_every=trainer.save_every,
        log_every=trainer.log_every,
        patience=trainer.patience,
        clip_norm=config.optim.clip_norm,
        accumulate=trainer.accumulate,
        seed=trainer.seed,
        max_bad_updates=trainer.max_bad_updates,
        progress=trainer.progress if group.is_first else "none",
    )


def _introduce(
    config: TrainConfig, model: nn.Module, data: PreparedData, run_dir: Path, update: int
) -> None:
    size = sum(parameter.numel() for parameter in model.parameters())
    verb = f"continuing {run_dir} at update {update}" if update else f"training in {run_dir}"
    logger.info(
        "%s: %.1f million parameters, %s words, %s pairs",
        verb,
        size / 1e6,
        f"{len(data.vocabulary):,}",
        f"{len(training_pairs(config, data, 'train')):,}",
    )
    say_kernels(config.trainer.device)


if __name__ == "__main__":
    run("train", TrainConfig, main)
