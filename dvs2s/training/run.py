"""The acts of a training run, one method each; ``loop`` says in which order."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch.optim import Optimizer

from dvs2s.errors import CheckpointError, Dvs2sError
from dvs2s.parallel.replica import Replica
from dvs2s.training.loop_state import LoopState, Reason, Window
from dvs2s.training.options import LoopOptions
from dvs2s.training.progress import Progress, Speed
from dvs2s.training.protocols import Batches, Save
from dvs2s.training.schedule import Schedule
from dvs2s.training.seeds import mix
from dvs2s.training.tracker import Log
from dvs2s.training.update import Batch, UpdateResult, run_update

# Tells the seeds of validation from those of training.
_TRAINING, _VALIDATION = 0, 1


class DivergenceError(Dvs2sError):
    """Too many updates in a row had a loss or a gradient that is not finite."""


@dataclass
class Run:
    """The parts of one call of ``train`` and the acts of its loop."""

    replica: Replica
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
        self.objective = self.replica.objective
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

    def ending(self, halted: Reason | None, *, is_stopped: bool) -> Reason | None:
        """Why the run is over, None when it goes on; the same in every worker.

        Args:
            halted: why somebody else wants the end here, "interrupted" or "pruned".
            is_stopped: whether this worker was told to stop.
        """
        options = self.options
        out_of_time = bool(options.max_minutes) and (
            self.clock() - self._start >= options.max_minutes * 60
        )
        is_stopped, out_of_time, is_pruned = self.replica.group.any(
            is_stopped or halted == "interrupted", out_of_time, halted == "pruned"
        )
        if is_stopped:
            return "interrupted"
        if is_pruned:
            return "pruned"
        if self.validation_due():
            return None
        if self.state.update >= options.max_updates:
            return "finished"
        if options.patience and self.state.waited >= options.patience:
            return "early_stop"
        return "time" if out_of_time else None

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
            replica=self.replica,
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
            # the same bits in every worker: they decide together what is best, and when to stop
            values, texts = self.replica.group.told(self.validate()), self.samples()
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
            f"trainer.max_bad_updates={self.options.max_bad_updates}; saved at update "
            f"{state.update} with the parameters before them. Last ones: "
            f"{'; '.join(self._last_skips)}. Start again (another trainer.run) with a lower "
            "optim.lr or optim.clip_norm, or look at these pairs"
        )
