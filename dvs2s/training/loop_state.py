"""Everything the loop itself changes, and its way into a checkpoint and back."""

from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal

from dvs2s.errors import CheckpointError
from dvs2s.training.update import UpdateResult

Reason = Literal["finished", "early_stop", "interrupted", "time", "pruned"]


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


@dataclass
class Window:
    """Sums since the last line of the log, for averages by tokens.

    Args:
        sums: name to [sum of value times weight, sum of weights].
    """

    sums: dict[str, list[float]] = field(default_factory=dict)

    def add(self, result: UpdateResult) -> None:
        """Takes one update in."""
        values = {"loss": result.loss, **result.parts}
        for name, value in values.items():
            self._add(name, value, result.num_tokens)
        self._add("gradient_norm", result.gradient_norm, 1)

    def means(self) -> dict[str, float]:
        """Returns the averages by name; empty when no update was made."""
        return {name: total / weight for name, (total, weight) in self.sums.items()}

    def _add(self, name: str, value: float, weight: float) -> None:
        total, weights = self.sums.get(name, [0.0, 0.0])
        self.sums[name] = [total + value * weight, weights + weight]


@dataclass
class LoopState:
    """Where a run stands.

    Args:
        update: updates made or skipped.
        validated: the update of the last validation.
        best_loss: lowest validation loss, None before the first.
        waited: validations since the best.
        stage: the objective's stage at the last validation; a best is one of its stage.
        skipped: updates skipped in the whole run.
        skipped_in_a_row: updates skipped since the last one made.
        seconds: time spent, earlier processes included.
        window: sums since the last line of the log.
    """

    update: int = 0
    validated: int = 0
    best_loss: float | None = None
    waited: int = 0
    stage: int = 0
    skipped: int = 0
    skipped_in_a_row: int = 0
    seconds: float = 0.0
    window: Window = field(default_factory=Window)

    def to_json(self) -> dict[str, Any]:
        """Returns the state in plain JSON types; exact, a NaN in a sum included."""
        state = asdict(self)
        state["window"] = {name: list(map(repr, pair)) for name, pair in self.window.sums.items()}
        return state

    @classmethod
    def from_json(cls, state: dict[str, Any]) -> "LoopState":
        """Returns the state that ``to_json`` wrote.

        Raises:
            CheckpointError: its fields are not those of this version.
        """
        expected = {entry.name for entry in fields(cls)}
        if set(state) != expected:
            raise CheckpointError(
                f"the loop's state has {sorted(state)}, expected {sorted(expected)}: "
                "the checkpoint is of another version"
            )
        sums = {name: list(map(float, pair)) for name, pair in state["window"].items()}
        return cls(**{**state, "window": Window(sums)})
