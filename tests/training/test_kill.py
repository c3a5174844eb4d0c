"""A run killed like kill -9 and started again ends with the bytes of an undisturbed one."""

import os
import subprocess
import sys

import pytest
import training_toy as toy

from dvs2s.errors import Dvs2sError
from dvs2s.training.lock import RunLock


def start(act, run_dir):
    """A process of its own, in which nothing but the toy has been imported."""
    return subprocess.Popen(
        [sys.executable, toy.__file__, act, str(run_dir)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


@pytest.fixture(scope="module")
def expected(tmp_path_factory):
    run_dir = tmp_path_factory.mktemp("whole")
    toy.run(run_dir)
    return toy.contents(run_dir)


def test_killed_at_random_moments(tmp_path, expected):
    with start("kill_at_random", tmp_path) as process:
        output, _ = process.communicate()
    assert process.returncode == 0
    assert output.split().count("killed") >= 3
    assert toy.contents(tmp_path) == expected


def test_killed_at_each_step_of_saving(tmp_path):
    toy.run(tmp_path / "whole", options=toy.SHORT)
    expected = toy.contents(tmp_path / "whole")
    with start("kill_everywhere", tmp_path) as process:
        process.communicate()
    assert process.returncode == 0
    for run_dir in tmp_path.iterdir():
        toy.run(run_dir, options=toy.SHORT)
        assert toy.contents(run_dir) == expected, f"killed at operation {run_dir.name}"


def test_a_second_process_is_refused_until_the_first_is_gone(tmp_path):
    with start("hold", tmp_path) as process:
        assert process.stdout.readline() == "held\n"
        with pytest.raises(Dvs2sError, match=rf"in use by process {process.pid}:"):
            toy.run(tmp_path)
        process.kill()
    with RunLock(tmp_path):
        with pytest.raises(Dvs2sError, match=rf"by process {os.getpid()}:"), RunLock(tmp_path):
            pass
    with RunLock(tmp_path):
        pass
