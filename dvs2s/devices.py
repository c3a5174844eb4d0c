"""Which device a command may run on, and which kernels serve it."""

import logging
import re

import torch

from dvs2s.errors import ConfigError
from dvs2s.ops.extension import describe

logger = logging.getLogger("dvs2s")


def check_device(device: str, option: str = "device") -> None:
    """Checks that a device is there.

    Args:
        device: ``cpu``, ``cuda`` or ``cuda:N``.
        option: what it is called where it was given, for the error.

    Raises:
        ConfigError: no such device here.
    """
    match = re.fullmatch(r"cpu|cuda(?::(\d+))?", device)
    if match is None:
        raise ConfigError(f"{option} must be cpu, cuda or cuda:N, got {device!r}")
    count = torch.cuda.device_count()
    if device != "cpu" and int(match[1] or 0) >= count:
        raise ConfigError(
            f"{option}={device} asks for a GPU and torch sees {count}: set {option}=cpu"
        )


def check_compiler(device: str, option: str) -> None:
    """Checks that ``torch.compile`` works on a device, by a first small use of it.

    Args:
        device: as in ``check_device``, and there.
        option: what asks for it, for the error.

    Raises:
        ConfigError: it does not, as without a C++ compiler.
    """
    try:
        torch.compile(torch.neg)(torch.zeros(1, device=device))
    except Exception as error:  # whatever of a compiler, its headers or its cache is missing
        first = str(error).strip().splitlines()[0]
        raise ConfigError(f"{option} needs torch.compile: {first}: set {option}=false") from error


def say_kernels(device: str) -> None:
    """Says which kernels serve the sparse softmax on this device."""
    logger.info("sparse softmax on %s: %s", device, describe(device))
