"""The cheap bounds by which the engine ranks words enclose the logarithm of the sigmoid."""

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

HEADERS = Path(__file__).resolve().parents[2] / "cuda_ext" / "csrc" / "decode_cpu"
PROGRAM = """
#include <cstdio>
#include "log_sigmoid.h"
using namespace dvs2s::engine;
int main() {
  const LogSigmoidBounds bounds;
  for (float x; std::fread(&x, sizeof x, 1, stdin) == 1;) {
    const float found[] = {bounds.low(x), log_sigmoid(x), bounds.high(x)};
    std::fwrite(found, sizeof found, 1, stdout);
  }
}
"""


@pytest.mark.skipif(shutil.which("c++") is None, reason="there is no C++ compiler")
def test_bounds_enclose_the_value_and_are_near_it(tmp_path: Path) -> None:
    (tmp_path / "bounds.cpp").write_text(PROGRAM)
    program = tmp_path / "bounds"
    build = ["c++", "-std=c++20", "-O2", f"-I{HEADERS}", str(tmp_path / "bounds.cpp")]
    subprocess.run([*build, "-o", str(program)], check=True)
    edges = np.arange(-656, 657, dtype=np.float32) / 32  # the chords' ends, and some beyond
    far = np.array([-np.inf, -3e38, -90, 90, 3e38, np.inf], np.float32)
    some = np.random.default_rng().uniform(-23, 23, 300_000)
    parts = [edges, np.nextafter(edges, far[0]), np.nextafter(edges, far[-1]), far, some]
    x = np.concatenate([part.astype(np.float32) for part in parts])

    ran = subprocess.run([program], input=x.tobytes(), capture_output=True, check=True)
    low, value, high = np.frombuffer(ran.stdout, np.float32).reshape(-1, 3).T
    exact = -np.logaddexp(0, -x.astype(np.float64))
    np.testing.assert_allclose(value, exact, rtol=2e-7, atol=1e-7)
    assert (low <= value).all() and (value <= high).all()
    near = np.abs(x) < 23
    assert (high[near] - low[near] < 1e-4).all()

    nan = subprocess.run(
        [program], input=np.float32(np.nan).tobytes(), capture_output=True, check=True
    )
    assert np.isnan(np.frombuffer(nan.stdout, np.float32)).all()
