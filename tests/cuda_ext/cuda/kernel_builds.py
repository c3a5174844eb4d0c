"""Builds the GPU kernels for tests: for the GPU that is here, or for the emulated one.

The emulated build runs the very sources of ``cuda_ext/csrc/cuda`` on one CPU core (see
``emulation/fibers.h`` there); it needs g++ and no CUDA. ``DVS2S_KERNEL_CXXFLAGS`` adds to its
flags, for sanitizers.
"""

import hashlib
import os
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

SOURCES = Path(__file__).resolve().parents[3] / "cuda_ext" / "csrc" / "cuda"
UNITS = (
    "sparse_host",
    "sparse_ops",
    "gradient_ops",
    "monte_carlo_ops",
    "select_ops",
    "register",
)
TORCH = Path(torch.__file__).parent
COMMON = [
    "-std=c++20",
    "-DTORCH_TARGET_VERSION=0x020a000000000000",
    "-DDVS2S_DEFINE_SCHEMAS",
    f"-isystem{TORCH / 'include'}",
]


@dataclass(frozen=True)
class Kernels:
    """A build: its operators, the device they serve, and whether that device is emulated."""

    ops: Any
    device: torch.device
    is_emulated: bool


def build_emulated(compiler: str, cache: Path) -> Kernels:
    """Returns the operators on CPU tensors, each GPU thread a fiber."""
    flags = ["-O1", "-fPIC", "-fvisibility=hidden", "-Wall", "-Wextra", "-Werror"]
    # torch's headers hide symbols that ours hold; nvcc's pragmas mean nothing to g++
    flags += ["-Wno-attributes", "-Wno-unknown-pragmas", "-Wno-missing-field-initializers"]
    flags += ["-DDVS2S_EMULATE", "-DDVS2S_NAMESPACE=dvs2s_emulated", "-DDVS2S_KEY=CPU"]
    more = os.environ.get("DVS2S_KERNEL_CXXFLAGS", "").split()
    compile_with = [compiler, *COMMON, *flags, *more, "-xc++", "-c"]
    link_with = [compiler, "-shared", *more, f"-L{TORCH / 'lib'}", f"-Wl,-rpath,{TORCH / 'lib'}"]
    library = _build(compile_with, link_with, ["-ltorch_cpu"], cache)
    torch.ops.load_library(library)
    return Kernels(torch.ops.dvs2s_emulated, torch.device("cpu"), True)


def build_cuda(nvcc: str, cache: Path) -> Kernels:
    """Returns the operators on the current GPU, in a namespace of their own."""
    major, minor = torch.cuda.get_device_capability()
    flags = ["-O3", "-Xcompiler=-fPIC", f"-arch=sm_{major}{minor}"]
    flags += ["-DDVS2S_NAMESPACE=dvs2s_gpu_test", "-DDVS2S_KEY=CUDA"]
    link_with = [nvcc, "-shared", f"-L{TORCH / 'lib'}", f"-Xlinker=-rpath={TORCH / 'lib'}"]
    # libtorch brings torch's CUDA library, whose symbols are weak here
    library = _build(
        [nvcc, *COMMON, *flags, "-c"], link_with, ["-Xlinker=--no-as-needed", "-ltorch"], cache
    )
    torch.ops.load_library(library)
    return Kernels(torch.ops.dvs2s_gpu_test, torch.device("cuda"), False)


def find_nvcc() -> str | None:
    """Returns nvcc from PATH or its usual place."""
    usual = Path("/usr/local/cuda/bin/nvcc")
    return shutil.which("nvcc") or (str(usual) if usual.exists() else None)


def _build(compile_with: list[str], link_with: list[str], libraries: list[str], at: Path) -> Path:
    """Returns the library of these sources and flags, compiled unless it is in the cache."""
    key = hashlib.sha256("\0".join([torch.__version__, *compile_with, *link_with]).encode())
    for path in sorted(SOURCES.rglob("*.*")):
        key.update(path.read_bytes())
    folder = at / key.hexdigest()[:16]
    library = folder / "kernels.so"
    if library.exists():
        return library
    folder.mkdir(parents=True, exist_ok=True)

    def compiled(unit: str) -> str:
        target = str(folder / f"{unit}.o")
        _run([*compile_with, str(SOURCES / f"{unit}.cu"), "-o", target])
        return target

    with ThreadPoolExecutor(2) as pool:
        objects = list(pool.map(compiled, UNITS))
    unfinished = folder / "unfinished.so"
    _run([*link_with, *objects, *libraries, "-o", str(unfinished)])
    unfinished.rename(library)
    return library


def _run(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, timeout=900)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(command)}\n{done.stderr[-4000:]}")
