"""Which device a command may run on, and which kernels serve it."""

import logging

import torch

from dvs2s.errors import ConfigError

logger = logging.getLogger("dvs2s")


def check_device(device: str) -> None:
    """Checks that a device is there.

    Args:
        device: ``cpu``, ``cuda`` or ``cuda:N``.

    Raises:
        ConfigError: no such device here.
    """
    kind = device.split(":", 1)[0]
    if kind not in ("cpu", "cuda"):
        raise ConfigError(f"device must be cpu, cuda or cuda:N, got {device!r}")
    if kind == "cuda" and not torch.cuda.is_available():
        raise ConfigError(f"device={device} asks for a GPU and torch sees none: use device=cpu")


def say_kernels(device: str) -> None:
    """Says which kernels serve the sparse softmax on this device."""
    logger.info(
        "sparse softmax on %s: PyTorch reference kernels (there is no compiled extension)", device
    )
