"""What every command that runs a model sets up first."""

from typing import cast

import torch

from dvs2s.backends import EngineChoice
from dvs2s.cli.configs import CheckpointConfig
from dvs2s.devices import say_kernels
from dvs2s.engine.engine import Precision
from dvs2s.loading import load
from dvs2s.responder import Responder


def open_responder(config: CheckpointConfig) -> Responder:
    """Returns the responder that a command asks for, and says which kernels serve it."""
    if config.threads:
        torch.set_num_threads(config.threads)
    responder = load(
        config.checkpoint,
        device=config.device,
        engine=cast(EngineChoice, config.engine),
        precision=cast(Precision, config.precision),
    )
    say_kernels(config.device)
    return responder
