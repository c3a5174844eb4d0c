"""Builds the operators' compiled kernels: C++ always, CUDA when the toolkit is there.

Needs torch and a C++20 compiler: ``pip install --no-build-isolation ./cuda_ext``. Switches, all of
the environment: DVS2S_CUDA=1 (fail without the toolkit), DVS2S_CUDA=0 (C++ only), CUDA_HOME,
DVS2S_CUDA_ARCHS ("80;90"), DVS2S_SANITIZE=1 (address and undefined-behaviour sanitizers, CPU).
Whether a GPU is visible while building plays no part.
"""

import os
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import torch
from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

HERE = Path(__file__).parent
TORCH = Path(torch.__file__).parent
# the oldest torch whose stable ABI serves: one build runs on it and on every later release
DEFINES = ["-DTORCH_TARGET_VERSION=0x020a000000000000"]
CPU = sorted(str(p.relative_to(HERE)) for p in (HERE / "csrc/cpu").glob("*.cpp"))
CPU += sorted(str(p.relative_to(HERE)) for p in (HERE / "csrc/decode_cpu").glob("*.cpp"))
CUDA = sorted(str(p.relative_to(HERE)) for p in (HERE / "csrc/cuda").glob("*.cu"))


def cuda_home() -> Path | None:
    """Returns the toolkit's folder, or None when CUDA is not wanted or not there."""
    wanted = os.environ.get("DVS2S_CUDA", "")
    if wanted not in ("", "0", "1"):
        raise SystemExit(f"DVS2S_CUDA must be 0 or 1, got {wanted!r}")
    if wanted == "0" or not CUDA or os.environ.get("DVS2S_SANITIZE") == "1":
        return None
    found = shutil.which("nvcc")
    home = os.environ.get("CUDA_HOME") or (Path(found).resolve().parents[1] if found else None)
    for candidate in (home, "/usr/local/cuda"):
        if candidate and (Path(candidate) / "bin/nvcc").exists():
            return Path(candidate)
    if wanted == "1":
        raise SystemExit("DVS2S_CUDA=1 but there is no nvcc: install the toolkit or set CUDA_HOME")
    return None


class Build(build_ext):
    """Adds the CUDA kernels, a library of their own (csrc/cuda/README.md)."""

    def run(self) -> None:
        super().run()
        home = cuda_home()
        if home is None:
            print("dvs2s_ext: CPU kernels only")
            return
        with ThreadPoolExecutor(int(os.environ.get("MAX_JOBS", "2"))) as pool:
            objects = list(pool.map(lambda source: self._compile(home, source), CUDA))
        target = Path(self.get_ext_fullpath("dvs2s_ext._cuda"))
        # libtorch brings torch's CUDA library where it has one; its symbols are weak, so that the
        # library loads beside a torch without CUDA, too, and serves nothing there
        command = [str(home / "bin/nvcc"), "-shared", "-cudart", "static", *objects]
        command += ["-o", str(target), f"-L{TORCH / 'lib'}", f"-Xlinker=-rpath={TORCH / 'lib'}"]
        command += ["-Xlinker=--no-as-needed", "-ltorch"]
        subprocess.run(command, check=True)

    def _compile(self, home: Path, source: str) -> str:
        target = Path(self.build_temp) / (source + ".o")
        target.parent.mkdir(parents=True, exist_ok=True)
        archs = os.environ.get("DVS2S_CUDA_ARCHS", "80;90").split(";")
        command = [str(home / "bin/nvcc"), "-c", str(HERE / source), "-o", str(target)]
        command += ["-O3", "-std=c++20", "-Xcompiler=-fPIC,-fvisibility=hidden", *DEFINES]
        command += ["-DDVS2S_NAMESPACE=dvs2s_gpu", "-DDVS2S_KEY=CUDA", "-DDVS2S_DEFINE_SCHEMAS"]
        command += ["-isystem", str(TORCH / "include")]
        command += [f"-gencode=arch=compute_{a},code=sm_{a}" for a in archs]
        command += [f"-gencode=arch=compute_{archs[-1]},code=compute_{archs[-1]}"]
        subprocess.run(command, check=True)
        return str(target)


sanitize = (
    ["-fsanitize=address,undefined", "-fno-omit-frame-pointer", "-g", "-O1"]
    if os.environ.get("DVS2S_SANITIZE") == "1"
    else ["-O3"]
)
extension = Extension(
    "dvs2s_ext._ops",
    sources=CPU,
    include_dirs=[str(TORCH / "include")],
    library_dirs=[str(TORCH / "lib")],
    runtime_library_dirs=[str(TORCH / "lib")],
    libraries=["torch_cpu"],
    extra_compile_args=[
        *sanitize,
        "-std=c++20",
        "-fvisibility=hidden",
        "-ffp-contract=off",  # a product and a sum are rounded alike in every route
        "-Wall",
        # g++ 12 mistakes the undefined lanes of its own intrinsics for a mistake of ours
        "-Wno-uninitialized",
        "-Wno-maybe-uninitialized",
        *DEFINES,
    ],
    extra_link_args=sanitize[:1] if len(sanitize) > 1 else [],
)
setup(ext_modules=[extension], cmdclass={"build_ext": Build})
