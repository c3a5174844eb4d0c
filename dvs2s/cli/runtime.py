"""What every command that runs a model sets up first."""

import logging

import torch

from dvs2s.cli.configs import CheckpointConfig
from dvs2s.errors import ConfigError
from dvs2s.loading import load
from dvs2s.responder import Responder

logger = logging.getLogger("dvs2s")


def set_up(device: str, threads: int) -> None:
    """Sets the number of threads and checks the device.

    Raises:
        ConfigError: no such device here.
    """
    if threads:
        torch.set_num_threads(threads)
    kind = device.split(":", 1)[0]
    if kind not in ("cpu", "cuda"):
        raise ConfigError(f"device must be cpu, cuda or cuda:N, got {device!r}")
    if kind == "cuda" and not torch.cuda.is_available():
        raise ConfigError(f"device={device} asks for a GPU and torch sees none: use device=cpu")


def say_kernels(device: str) -> None:
    """Says which kernels serve the sparse softmax on this device."""
    logger.info("sparse softmax on %s: PyTorch reference kernels", device)


def open_responder(config: CheckpointConfig) -> Responder:
    """Returns the responder that a command asks for."""
    set_up(config.device, config.threads)
    responder = load(config.checkpoint, device=config.device)
    say_kernels(config.device)
    return responder
