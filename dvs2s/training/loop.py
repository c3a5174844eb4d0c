"""The training loop: update, log, validate, save; stoppable and resumable at every update.

The law it keeps: N updates equal k updates, a save, a new process and N - k updates, bit for
bit. For that, everything random is seeded by (seed, update), and everything else the loop
changes is in the state that it hands to ``save``.
"""

import time
from collections.abc import Callable
from contextlib import closing
from typing import Any

from torch import nn
from torch.optim import Optimizer

from dvs2s.parallel.replica import Replica
from dvs2s.training.loop_state import Outcome, Reason
from dvs2s.training.options import LoopOptions
from dvs2s.training.progress import Progress
from dvs2s.training.protocols import Batches, Save
from dvs2s.training.run import DivergenceError, Run
from dvs2s.training.schedule import Schedule
from dvs2s.training.signals import StopSignal
from dvs2s.training.tracker import Log

__all__ = ["DivergenceError", "Outcome", "train"]


def train(
    objective: nn.Module | Replica,
    batches: Batches,
    optimizer: Optimizer,
    schedule: Schedule,
    *,
    options: LoopOptions,
    validate: Callable[[], dict[str, float]],
    save: Save,
    tracker: Log,
    samples: Callable[[], dict[str, str]] = dict,
    state: dict[str, Any] | None = None,
    clock: Callable[[], float] = time.monotonic,
    halt: Callable[[], Reason | None] = lambda: None,
) -> Outcome:
    """Trains ``objective`` and returns how that ended; the end is saved whatever it is.

    An objective of several stages says in ``stage`` in which it is: bests of different stages do
    not compete, so that what is kept comes from the last one.

    Each update: ``objective.begin_update(update)`` where there is such a method, torch seeded
    by (seed, update, rank), forward and backward over ``accumulate`` batches, clip, step.
    SIGINT and SIGTERM stop after the update at hand.

    Args:
        objective: maps a batch to LossTerms; on a resume with the checkpoint's tensors loaded. A
            Replica of it where several workers train it together: they all call this, with the
            same batches, and stop together.
        batches: endless; sent to its place on a resume.
        optimizer: on a resume with its state loaded.
        schedule: sent to its place on a resume.
        options: when to do what.
        validate: returns values by name, among them "loss", lower is better; called without
            gradients, in eval mode, with a seed of its own.
        save: called with (update, state, is_best=...).
        tracker: gets "train/...", "valid/..." and "speed/..." values, and the samples.
        samples: returns texts by name, to be read beside a validation's values.
        state: what ``save`` got, to resume; None starts anew.
        clock: returns seconds.
        halt: asked before each update; says why the run shall end here, None to go on; in any of
            several workers it ends all.

    Raises:
        ValueError: the objective has no parameters, the batches end, or no "loss" comes back.
        CheckpointError: ``state`` is not one of this loop, or a save failed.
        DivergenceError: more than ``options.max_bad_updates`` in a row were skipped.
    """
    replica = objective if isinstance(objective, Replica) else Replica(objective)
    if next(replica.objective.parameters(), None) is None:
        raise ValueError("objective has no parameters: nothing to train")
    run = Run(
        replica, batches, optimizer, schedule, options, validate, save, tracker, samples, clock
    )
    if state is not None:
        run.resume(state)
    at = run.state
    progress = Progress(options.progress, options.max_updates, start=at.update, clock=clock)
    replica.objective.train()
    with StopSignal() as stop, closing(progress):
        run.progress = progress
        while True:
            # A stop comes before a validation that is due: that may last longer than the
            # grace period, and a resumed run begins with it.
            reason = run.ending(halt(), is_stopped=stop.requested)
            if reason is not None:
                run.save_changes()
                progress.note(f"stopped at update {at.update}: {reason}")
                return Outcome(at.update, at.best_loss, reason)
            if run.validation_due():
                run.validate_now()
                continue
            if at.update % options.save_every == 0:
                run.save_changes()
            run.update_once()
