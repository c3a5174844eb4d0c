"""What every command that runs a model sets up first."""

from collections.abc import Sequence
from pathlib import Path
from typing import cast

import torch

from dvs2s.backends import EngineChoice
from dvs2s.build import prepared_data
from dvs2s.cli.configs import CheckpointConfig
from dvs2s.data.corpus import PreparedData
from dvs2s.devices import say_kernels
from dvs2s.engine.engine import Precision
from dvs2s.errors import DataError
from dvs2s.loading import load
from dvs2s.responder import Responder


def open_responder(config: CheckpointConfig, *, recalibrate: Sequence[str] = ()) -> Responder:
    """Returns the responder that a command asks for, and says which kernels serve it.

    Args:
        config: of the command.
        recalibrate: as of ``load``.
    """
    if config.threads:
        torch.set_num_threads(config.threads)
    responder = load(
        config.checkpoint,
        device=config.device,
        engine=cast(EngineChoice, config.engine),
        precision=cast(Precision, config.precision),
        recalibrate=recalibrate,
    )
    say_kernels(config.device)
    return responder


def checkpoint_data(responder: Responder, root: str, split: str) -> PreparedData:
    """Returns the corpus that a checkpoint was trained on, prepared.

    Args:
        responder: of the checkpoint.
        root: where the corpus is now; empty for where it was.
        split: that the command will read.

    Raises:
        DataError: there is no such split, or the data were prepared with another vocabulary.
    """
    source = responder.config.data
    source.root = root or source.root
    # what is there is used as it is: preparing again could take the run its data away
    folder = Path(source.prepared)
    data = PreparedData.open(folder) if folder.is_dir() else prepared_data(source, progress=True)
    if split not in data.splits:
        raise DataError(f"{data.folder} has no split {split}: it has {data.splits}")
    if data.vocabulary.fingerprint != responder.vocabulary.fingerprint:
        raise DataError(
            f"{data.folder} was prepared with another vocabulary than the checkpoint's: "
            f"prepare it with the checkpoint's data options"
        )
    return data
