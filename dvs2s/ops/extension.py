"""Finds and loads the compiled library, and says which kernel serves which device and why."""

import functools
import importlib
import importlib.util
import logging
import os
from dataclasses import dataclass

import torch

from dvs2s.ops import gpu

logger = logging.getLogger("dvs2s")
_INTERFACE = 1  # of dvs2s_ext: an older build takes other arguments, and would fail in the middle

BUILD = "pip install --no-build-isolation ./cuda_ext (make ext) builds it"


@dataclass(frozen=True)
class Loaded:
    """What came of loading the compiled library.

    Args:
        path: the library, or "" when it is not in use.
        why_not: why it is not in use, or "".
        cpu: instruction sets by type, ``{"float32": "avx512", ...}``; empty without the library.
        cuda: whether the library holds CUDA kernels.
    """

    path: str
    why_not: str
    cpu: dict[str, str]
    cuda: bool


@functools.cache
def load() -> Loaded:
    """Loads the library, once; a missing or unfit one is a reason, not an error."""
    if os.environ.get("DVS2S_EXTENSION") == "off":
        return Loaded("", "DVS2S_EXTENSION=off", {}, False)
    spec = importlib.util.find_spec("dvs2s_ext")
    if spec is None:
        return Loaded("", f"there is no compiled extension: {BUILD}", {}, False)
    try:
        package = importlib.import_module("dvs2s_ext")
        built = getattr(package, "INTERFACE", 0)
        if built != _INTERFACE:
            reason = f"is of interface {built}, and {_INTERFACE} is needed"
            return Loaded("", f"the compiled extension {reason}: {BUILD}", {}, False)
        paths = [str(path) for path in package.libraries()]
        for path in paths:
            torch.ops.load_library(path)  # type: ignore[no-untyped-call]
    except (OSError, ImportError) as error:  # FileNotFoundError is an OSError
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        return Loaded("", f"the compiled extension does not load ({reason}): {BUILD}", {}, False)
    sets = torch.ops.dvs2s.cpu_kernels().split()
    cpu = dict(zip(("float32", "bfloat16", "int8"), sets, strict=True))
    if len(paths) > 1:
        gpu.register()
    return Loaded(paths[0], "", cpu, len(paths) > 1)


def describe(device: str = "cpu") -> str:
    """Returns one line: which kernels serve a device, and why not the compiled ones.

    Args:
        device: ``cpu`` or ``cuda``, with or without an index.
    """
    found, kind = load(), torch.device(device).type
    if found.why_not:
        return f"PyTorch reference kernels ({found.why_not})"
    if kind == "cpu":
        sets = ", ".join(f"{name} {isa}" for name, isa in found.cpu.items())
        return f"compiled kernels ({sets})"
    if kind == "cuda" and found.cuda:
        return "compiled CUDA kernels"
    why = "the extension was built without CUDA" if kind == "cuda" else "no kernel for it"
    return f"PyTorch reference kernels ({why})"


def reads_through_ids(weight: torch.Tensor) -> bool:
    """Returns whether compiled kernels serve this weight: without them, gather its rows once."""
    found = load()
    if weight.device.type == "cpu":
        return bool(found.path)
    return weight.device.type == "cuda" and found.cuda
