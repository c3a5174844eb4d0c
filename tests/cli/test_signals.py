"""Ctrl-C and a reader that leaves, in processes of their own: no traceback."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest


def start(name: str, run_dir: Path, *arguments: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", f"dvs2s.cli.{name}", f"checkpoint={run_dir}", *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"},
    )


@pytest.mark.parametrize("name", ["chat", "generate"])
def test_ctrl_c(name: str, run_dir: Path) -> None:
    arguments = ["batch_size=1"] if name == "generate" else []
    with start(name, run_dir, *arguments) as process:
        assert process.stdin and process.stdout and process.stderr
        process.stdin.write(b"do you have any mubade?\n")
        process.stdin.flush()
        assert process.stdout.readline().endswith(b".\n")  # it is at work
        process.send_signal(signal.SIGINT)
        errors = process.stderr.read()
    assert process.returncode == 130
    assert errors.endswith(b"interrupted\n") and b"Traceback" not in errors


def test_a_reader_that_leaves(run_dir: Path, tmp_path: Path) -> None:
    source = tmp_path / "messages.txt"
    source.write_bytes(b"do you have any mubade?\n" * 2000)  # more than a pipe and its buffers hold
    with start("generate", run_dir, f"input={source}", "search=greedy") as process:
        assert process.stdout and process.stderr
        process.stdout.readline()
        process.stdout.close()
        errors = process.stderr.read()
    assert process.returncode == 0
    assert b"Traceback" not in errors and b"BrokenPipe" not in errors
