"""An objective and its optimiser into a run's checkpoints, and out of one again."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn
from torch.optim import Optimizer

from dvs2s.errors import CheckpointError
from dvs2s.training.checkpoint import load_optimizer, load_tensors, read_state, save_checkpoint


@dataclass(frozen=True)
class Saver:
    """A ``save`` for the loop that writes checkpoints into one run's folder.

    Args:
        run_dir: the run's folder.
        objective: what is trained; all of its state_dict is saved.
        optimizer: over the objective's parameters.
        config: plain JSON types.
        vocabulary_file: vocabulary.json or its content.
        keep: how many of the newest checkpoints stay besides the best, 1 or more.
    """

    run_dir: Path
    objective: nn.Module
    optimizer: Optimizer
    config: dict[str, Any]
    vocabulary_file: Path | bytes
    keep: int = 1

    def __call__(self, update: int, state: dict[str, Any], *, is_best: bool) -> Path:
        """Writes a checkpoint and returns its folder; see ``save_checkpoint``."""
        return save_checkpoint(
            self.run_dir,
            update,
            objective_state=self.objective.state_dict(),
            optimizer=self.optimizer,
            named_parameters=self.objective.named_parameters(),
            state=state,
            config=self.config,
            vocabulary_file=self.vocabulary_file,
            is_best=is_best,
            keep=self.keep,
        )


def restore(
    folder: Path, objective: nn.Module, optimizer: Optimizer, *, verify: bool = True
) -> dict[str, Any]:
    """Loads a checkpoint into ``objective`` and ``optimizer`` and returns the loop's state.

    Args:
        folder: a checkpoint's folder.
        objective: built from the checkpoint's configuration, on any device.
        optimizer: over the objective's parameters, of the type it had.
        verify: compares size and sha256 of each file with the manifest.

    Raises:
        CheckpointError: a file is missing or damaged, or names or shapes differ.
    """
    saved = load_tensors(folder, "objective", verify=verify)
    try:
        objective.load_state_dict(saved, strict=True)
    except RuntimeError as error:
        raise CheckpointError(f"{folder} is the checkpoint of another model: {error}") from error
    load_optimizer(folder, optimizer, objective.named_parameters(), verify=verify)
    return read_state(folder, verify=verify)
