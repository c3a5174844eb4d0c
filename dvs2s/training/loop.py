"""The training loop: update, log, validate, save; stoppable and resumable at every update.

The law it keeps: N updates equal k updates, a save, a new process and N - k updates, bit for
bit. For that, everything random is seeded by (seed, update), and everything else the loop
changes is in the state that it hands to ``save``.
"""

import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import torch
from torch import nn
from torch.optim import Optimizer

from dvs2s.errors import CheckpointError, Dvs2sError
from dvs2s.training.loop_state import LoopState, Window
from dvs2s.training.options import LoopOptions
from dvs2s.training.progress import Progress, Speed
from dvs2s.training.schedule import Schedule
from dvs2s.training.seeds import mix
from dvs2s.training.signals import StopSignal
from dvs2s.training.tracker import Log
from dvs2s.training.update import Batch, UpdateResult, run_update

Reason = Literal["finished", "early_stop", "interrupted", "time", "pruned"]

# Tells the seeds of validation from those of training.
_TRAINING, _VALIDATION = 0, 1


class Batches(Protocol):
    """An endless source of batches that knows its place."""

    def __next__(self) -> Batch:
        """Returns the next batch."""

    def state_dict(self) -> dict[str, Any]:
        """Returns the place in plain JSON types."""

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes to a place that ``state_dict`` returned."""


class Save(Protocol):
    """Writes a checkpoint of the objective, the optimiser and the loop's ``state``."""

    def __call__(self, update: int, state: dict[str, Any], *, is_best: bool) -> object:
        """Returns when the checkpoint is safe."""


@dataclass(frozen=True)
class Outcome:
    """How a run ended.

    Args:
        update: updates made or skipped.
        best_loss: lowest validation loss, None without validation.
        reason: "finished" (max_updates), "early_stop" (patience), "interrupted" (a signal) or
            "time" (max_minutes), or what ``halt`` said. Only an interrupted run has work left
            to resume.
    """

    update: int
    best_loss: float | None
    reason: Reason


class DivergenceError(Dvs2sError):
    """Too many updates in a row had a loss or a gradient that is not finite."""


def train(
    objective: nn.Module,
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
        objective: maps a batch to LossTerms; on a resume with the checkpoint's tensors loaded.
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
        halt: asked before each update; says why the run shall end here, None to go on.

    Raises:
        ValueError: the objective has no parameters, the batches end, or no "loss" comes back.
        CheckpointError: ``state`` is not one of this loop, or a save failed.
        DivergenceError: more than ``options.max_bad_updates`` in a row were skipped.
    """
    if next(objective.parameters(), None) is None:
        raise ValueError("objective has no parameters: nothing to train")
    run = _Run(
        objective, batches, optimizer, schedule, options, validate, save, tracker, samples, clock
    )
    if state is not None:
        run.resume(state)
    at = run.state
    progress = Progress(options.progress, options.max_updates, start=at.update, clock=clock)
    objective.train()
    with StopSignal() as stop, closing(progress):
        run.progress = progress
        while True:
            # A stop comes before a validation that is due: that may last longer than the
            # grace period, and a resumed run begins with it.
            if not stop.requested and run.validation_due():
                run.validate_now()
                continue
            reason: Reason | None = "interrupted" if stop.requested else run.ending() or halt()
            if reason is not None:
                run.save_changes()
                progress.note(f"stopped at update {at.update}: {reason}")
                return Outcome(at.update, at.best_loss, reason)
            if at.update % options.save_every == 0:
                run.save_changes()
            run.update_once()


@dataclass
class _Run:
    """The parts of one call of ``train`` and the acts of its loop."""

    objective: nn.Module
    batches: Batches
    optimizer: Optimizer
    schedule: Schedule
    options: LoopOptions
    validate: Callable[[], dict[str, float]]
    save: Save
    tracker: Log
    samples: Callable[[], dict[str, str]]
    clock: Callable[[], float]
    state: LoopState = field(default_factory=LoopState)
    progress: Progress = field(init=False)

    def __post_init__(self) -> None:
        self.speed = Speed(self.clock)
        self._start = self.clock()
        self._saved = (0, 0)
        self._last_skips: list[str] = []

    def resume(self, state: dict[str, Any]) -> None:
        """Goes to where the run was saved."""
        missing = sorted({"loop", "batches", "schedule"} - set(state))
        if missing:
            raise CheckpointError(f"the run's state lacks {', '.join(missing)}: cannot resume")
        self.state = LoopState.from_json(state["loop"])
        self.batches.load_state_dict(state["batches"])
        self.schedule.load_state_dict(state["schedule"])
        self._start = self.clock() - self.state.seconds
        self._saved = (self.state.update, self.state.validated)
        # A validation that is due comes first and sees what the last update began with.
        if self.state.update:
            self._begin_update()

    def ending(self) -> Reason | None:
        """Why the run is over, None when it goes on."""
        options = self.options
        if self.state.update >= options.max_updates:
            return "finished"
        if options.patience and self.state.waited >= options.patience:
            return "early_stop"
        if options.max_minutes and self.clock() - self._start >= options.max_minutes * 60:
            return "time"
        return None

    def validation_due(self) -> bool:
        """Whether this update wants a validation and has had none."""
        update = self.state.update
        wanted = update % self.options.validate_every == 0 or update == self.options.max_updates
        return wanted and self.state.validated < update

    def update_once(self) -> None:
        """Makes or skips the next update and logs when that is due."""
        options, state = self.options, self.state
        state.update += 1
        batches = self._next_batches()
        self._begin_update()
        torch.manual_seed(mix(options.seed, state.update, options.rank, _TRAINING))
        lr = self.schedule.lr(state.update)
        result = run_update(
            self.objective,
            batches,
            optimizer=self.optimizer,
            lr=lr,
            clip_norm=options.clip_norm,
        )
        self.speed.add(result.num_tokens)
        if result.problem is None:
            state.skipped_in_a_row = 0
            state.window.add(result)
        else:
            self._skipped(result, batches)
        self.progress.advance(state.update, result.loss, result.num_tokens)
        if state.update % options.log_every == 0 or state.update == options.max_updates:
            self._log(lr)

    def validate_now(self) -> None:
        """Validates, tells the schedule, and saves a new best."""
        state = self.state
        modes = [(module, module.training) for module in self.objective.modules()]
        self.objective.eval()
        torch.manual_seed(mix(self.options.seed, state.update, self.options.rank, _VALIDATION))
        with torch.no_grad():
            values, texts = self.validate(), self.samples()
        for module, was_training in modes:
            module.training = was_training
        if "loss" not in values:
            raise ValueError(f'validate must return a value "loss", got {sorted(values)}')
        loss = float(values["loss"])
        self.tracker.log(state.update, {f"valid/{name}": v for name, v in values.items()}, texts)
        self.schedule.observe(loss)
        stage = int(getattr(self.objective, "stage", 0))
        if stage != state.stage:  # a model of an earlier stage is not what the run is for
            state.best_loss, state.waited, state.stage = None, 0, stage
        # False for NaN and for infinity, which are never a best.
        is_best = loss < (float("inf") if state.best_loss is None else state.best_loss)
        state.best_loss = loss if is_best else state.best_loss
        state.waited = 0 if is_best else state.waited + 1
        state.validated = state.update
        self.progress.validated(state.update, loss)
        self.speed.restart()
        if is_best:
            self._save_now(is_best=True)

    def save_changes(self) -> None:
        """Saves, unless nothing has happened since the last save."""
        if self._saved != (self.state.update, self.state.validated):
            self._save_now(is_best=False)

    def _save_now(self, *, is_best: bool) -> None:
        self.state.seconds = self.clock() - self._start
        state = {
            "loop": self.state.to_json(),
            "batches": self.batches.state_dict(),
            "schedule": self.schedule.state_dict(),
        }
        self.save(self.state.update, state, is_best=is_best)
        self._saved = (self.state.update, self.state.validated)

    def _begin_update(self) -> None:
        begin_update = getattr(self.objective, "begin_update", None)
        if begin_update is not None:
            begin_update(self.state.update)

    def _next_batches(self) -> list[Batch]:
        try:
            return [next(self.batches) for _ in range(self.options.accumulate)]
        except StopIteration:
            raise ValueError(
                f"batches ended at update {self.state.update}: pass an endless iterator"
            ) from None

    def _log(self, lr: float) -> None:
        updates_a_second, tokens_a_second = self.speed.rates()
        values = {f"train/{name}": mean for name, mean in self.state.window.means().items()}
        values["train/lr"] = lr
        values["speed/updates_per_second"] = updates_a_second
        values["speed/tokens_per_second"] = tokens_a_second
        self.tracker.log(self.state.update, values)
        self.state.window = Window()
        self.speed.restart()

    def _skipped(self, result: UpdateResult, batches: list[Batch]) -> None:
        state = self.state
        state.skipped += 1
        state.skipped_in_a_row += 1
        pairs = ", ".join(str(pair) for batch in batches for pair in batch.index.tolist())
        sentence = f"update {state.update} skipped: {result.problem} on pairs {pairs}"
        self._last_skips = [*self._last_skips, sentence][-3:]
        self.progress.note(sentence)
        self.tracker.log(state.update, {"train/skipped": state.skipped}, {"skipped": sentence})
        if state.skipped_in_a_row <= self.options.max_bad_updates:
            return
        self._save_now(is_best=False)
        raise DivergenceError(
            f"{state.skipped_in_a_row} updates in a row were skipped, more than "
            f"max_bad_updates={self.options.max_bad_updates}; saved at update {state.update} "
            f"with the last good parameters. Last ones: {'; '.join(self._last_skips)}. "
            "Lower the learning rate or clip_norm, or look at these pairs"
        )
