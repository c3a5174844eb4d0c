"""Options of the training loop."""

from dataclasses import dataclass

from dvs2s.training.progress import DISPLAYS


@dataclass(frozen=True)
class LoopOptions:
    """When the loop does what.

    Args:
        max_updates: end of the run, 1 or more; validated there too.
        max_minutes: wall-clock budget over all resumes together; 0 is no limit.
        validate_every: updates between validations, 1 or more.
        save_every: updates between checkpoints, 1 or more; a new best is saved besides.
        log_every: updates averaged into a line of the log, 1 or more.
        patience: stop after so many validations without a new best; 0 never does.
        clip_norm: the gradient's norm is cut to this; 0 leaves it.
        accumulate: batches in one update, 1 or more.
        seed: of everything random.
        rank: this process among those that train together, 0 or more.
        max_bad_updates: more skipped updates in a row than this end the run, 0 or more.
        progress: "bar" (plain lines where there is no terminal), "lines" or "none".

    Raises:
        ValueError: an option out of range.
    """

    max_updates: int
    max_minutes: float = 0.0
    validate_every: int = 1000
    save_every: int = 1000
    log_every: int = 50
    patience: int = 0
    clip_norm: float = 1.0
    accumulate: int = 1
    seed: int = 1
    rank: int = 0
    max_bad_updates: int = 10
    progress: str = "bar"

    def __post_init__(self) -> None:
        """Checks the ranges."""
        for name in ("max_updates", "validate_every", "save_every", "log_every", "accumulate"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        for name in ("max_minutes", "patience", "clip_norm", "rank", "max_bad_updates"):
            value = getattr(self, name)
            if not 0 <= value < float("inf"):
                raise ValueError(f"{name} must be 0 or more, got {value}")
        if self.progress not in DISPLAYS:
            raise ValueError(
                f"progress must be one of {', '.join(DISPLAYS)}, got {self.progress!r}"
            )
