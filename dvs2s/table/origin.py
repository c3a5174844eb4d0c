"""Where a result comes from: code, machine, configuration; nothing private of the machine."""

import os
import platform
import subprocess
from dataclasses import asdict
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

from dvs2s.config import TrainConfig

# Options that name places on a machine, or change nothing of what is computed.
_PLACES = {"data": {"root", "prepared", "workers", "vectors"}, "trainer": {"run", "progress"}}


def describe_configuration(config: TrainConfig) -> dict[str, Any]:
    """Returns the options of a training without those that name places."""
    plain = asdict(config)
    return {
        group: {n: v for n, v in options.items() if n not in _PLACES.get(group, set())}
        for group, options in plain.items()
    }


def machine(device: str) -> dict[str, str]:
    """Returns processor, cores, threads and versions.

    Args:
        device: where the models ran.
    """
    found = {
        "processor": _processor(),
        "cores": f"{os.cpu_count()}, torch threads {torch.get_num_threads()}",
        "device": _device(device),
        "versions": f"Python {platform.python_version()}, torch {torch.__version__}, "
        f"dvs2s {metadata.version('dvs2s')}",
    }
    return found


def commit() -> str:
    """Returns the commit of the code, marked when files differ from it; "unknown" outside git."""
    folder = Path(__file__).resolve().parents[2]

    def git(*arguments: str) -> str | None:
        try:
            ran = subprocess.run(
                ["git", "-C", str(folder), *arguments], capture_output=True, text=True, timeout=30
            )
        except (OSError, subprocess.SubprocessError):
            return None
        return ran.stdout.strip() if ran.returncode == 0 else None

    head, changes = git("rev-parse", "HEAD"), git("status", "--porcelain", "--", "dvs2s", "conf")
    if not head:
        return "unknown"
    return f"{head} with local changes" if changes else head


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _device(device: str) -> str:
    if device == "cpu":
        return "cpu"
    return f"{device} ({torch.cuda.get_device_name(device)})"
