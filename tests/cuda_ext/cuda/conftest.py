"""Builds the GPU kernels once a session; most tests here run on the emulated and the real GPU."""

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

sys.path.append(str(Path(__file__).parent))

from kernel_builds import Kernels, build_cuda, build_emulated, find_nvcc


@pytest.fixture(scope="session")
def emulated_kernels(request: pytest.FixtureRequest) -> Kernels:
    """The kernels of ``cuda_ext/csrc/cuda`` for the emulated GPU."""
    compiler = shutil.which("g++")
    if compiler is None:
        pytest.skip("no g++: the emulated GPU cannot be built")
    return build_emulated(compiler, _cache(request))


@pytest.fixture(scope="session")
def gpu_kernels(request: pytest.FixtureRequest) -> Kernels:
    """The kernels of ``cuda_ext/csrc/cuda`` for the GPU that is here."""
    if not torch.cuda.is_available():
        pytest.skip("no GPU, or a torch without CUDA")
    nvcc = find_nvcc()
    if nvcc is None:
        pytest.skip("no nvcc: the kernels cannot be built for this GPU")
    return build_cuda(nvcc, _cache(request))


@pytest.fixture(
    scope="session",
    params=["emulated_kernels", pytest.param("gpu_kernels", marks=pytest.mark.cuda)],
)
def kernels(request: pytest.FixtureRequest) -> Kernels:
    """Each build in turn."""
    built: Kernels = request.getfixturevalue(request.param)
    return built


@pytest.fixture(scope="module")
def unwritten_is_nan() -> Iterator[None]:
    """Fills new tensors with NaN, as torch does in deterministic mode: what nobody wrote shows."""
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(False)


def _cache(request: pytest.FixtureRequest) -> Path:
    assert request.config.cache is not None
    return request.config.cache.mkdir("dvs2s_kernels")
