"""What the loop asks of those that it works with."""

from typing import Any, Protocol

from dvs2s.training.update import Batch


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
