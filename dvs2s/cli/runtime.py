"""What every command that runs a model sets up first."""

import torch

from dvs2s.cli.configs import CheckpointConfig
from dvs2s.devices import say_kernels
from dvs2s.loading import load
from dvs2s.responder import Responder


def open_responder(config: CheckpointConfig) -> Responder:
    """Returns the responder that a command asks for, and says which kernels serve it."""
    if config.threads:
        torch.set_num_threads(config.threads)
    responder = load(config.checkpoint, device=config.device)
    say_kernels(config.device)
    return responder
