"""Builds the GPU kernels once a session; every test here runs on the emulated and the real GPU."""

import shutil
import sys
from pathlib import Path

import pytest
import torch

sys.path.append(str(Path(__file__).parent))

from kernel_builds import Kernels, build_cuda, build_emulated, find_nvcc  # noqa: E402


@pytest.fixture(scope="session", params=["emulated", pytest.param("cuda", marks=pytest.mark.cuda)])
def kernels(request: pytest.FixtureRequest) -> Kernels:
    """The kernels of ``cuda_ext/csrc/cuda``, compiled for this device."""
    assert request.config.cache is not None
    cache = request.config.cache.mkdir("dvs2s_kernels")
    if request.param == "emulated":
        compiler = shutil.which("g++")
        if compiler is None:
            pytest.skip("no g++: the emulated GPU cannot be built")
        return build_emulated(compiler, cache)
    nvcc = find_nvcc()
    if not torch.cuda.is_available():
        pytest.skip("no GPU, or a torch without CUDA")
    if nvcc is None:
        pytest.skip("no nvcc: the kernels cannot be built for this GPU")
    return build_cuda(nvcc, cache)
