"""A training on a full disk, without its folder, told to stop at a bad moment, killed: R1 to R3."""

import importlib.util
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from conftest import Command

from dvs2s.cli import train
from dvs2s.training.checkpoint import resolve
from dvs2s.training.tracker import Tracker

SHORT = (
    "trainer.max_updates=12",
    "trainer.validate_every=4",
    "trainer.save_every=3",
    "trainer.log_every=1",
    "trainer.samples=0",
    "optim.warmup=2",
)


def contents(run_dir: Path) -> list[bytes]:
    last = resolve(run_dir, "last")
    names = ("model.safetensors", "objective.safetensors", "optimizer.safetensors")
    return [
        *((last / name).read_bytes() for name in names),
        (run_dir / "metrics.jsonl").read_bytes(),
    ]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("whole")


@pytest.fixture
def expected(command: Command, tiny: tuple[str, ...], whole: Path) -> list[bytes]:
    """What an undisturbed run computes; made once."""
    if not (whole / "metrics.jsonl").exists():
        assert command("train", *tiny, *SHORT, f"trainer.run={whole}").code == 0
    return contents(whole)


# Bytes that a file may have: metrics.jsonl, TensorBoard's file and the weights hit it in turn.
@pytest.mark.parametrize("limit", [700, 40_000])
def test_a_full_disk_is_named_and_the_run_goes_on_later(
    command: Command,
    tiny: tuple[str, ...],
    tmp_path: Path,
    expected: list[bytes],
    limit: int,
) -> None:
    arguments = [*tiny, *SHORT, f"trainer.run={tmp_path}/run"]

    def full() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    process = subprocess.run(
        [sys.executable, "-m", "dvs2s.cli.train", *arguments],
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=full,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        timeout=120,
    )
    assert process.returncode == 2
    # TensorBoard's own thread may have its say after ours, or begin a line that ours ends
    said = re.findall(r"(?<!\w)error: .*", process.stderr)
    assert len(said) == 1, process.stderr
    assert said[0].startswith("error: disk full while saving ") and str(tmp_path) in said[0]
    assert command("train", *arguments).code == 0
    assert contents(tmp_path / "run") == expected


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGUSR1])
def test_a_signal_before_the_first_update_asks_for_a_resume(
    command: Command,
    tiny: tuple[str, ...],
    tmp_path: Path,
    expected: list[bytes],
    number: signal.Signals,
) -> None:
    arguments = (*tiny, *SHORT, f"trainer.run={tmp_path}")
    new_model = train.new_model

    def stopped(*rest: Any) -> Any:
        os.kill(os.getpid(), number)
        return new_model(*rest)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(train, "new_model", stopped)
        ran = command("train", *arguments)
    assert ran.code == 75
    assert ran.err.endswith(f"outside of the updates: the same command continues {tmp_path}\n")
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    assert command("train", *arguments).code == 0
    assert contents(tmp_path) == expected


def test_a_folder_that_cannot_be_made_is_named(
    command: Command, tiny: tuple[str, ...], tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("text")
    ran = command("train", *tiny, *SHORT, f"trainer.run={tmp_path}/file/run")
    assert ran.code == 2
    assert ran.err.splitlines()[-1] == f"error: cannot use {tmp_path}/file/run: Not a directory"


# TensorBoard's own thread finds its file gone, too
@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_folder_that_is_removed_meanwhile_is_named(
    command: Command,
    tiny: tuple[str, ...],
    tmp_path: Path,
    expected: list[bytes],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    arguments = (*tiny, *SHORT, f"trainer.run={tmp_path}/run")
    log = Tracker.log

    def removing(self: Tracker, update: int, *rest: Any) -> None:
        if update == 7:
            shutil.rmtree(tmp_path / "run")
        log(self, update, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(Tracker, "log", removing)
        ran = command("train", *arguments)
    assert ran.code == 2 and "metrics.jsonl was removed while this run writes it" in ran.err
    assert command("train", *arguments).code == 0  # anew: nothing is left to go on from
    assert contents(tmp_path / "run") == expected


def benchmark(name: str) -> Any:
    """Returns a script of benchmarks/ as a module."""
    path = Path(__file__).parents[2] / "benchmarks" / f"{name}.py"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    return script


@pytest.mark.slow
def test_kill_9_of_the_command_at_random_moments(tmp_path: Path) -> None:
    """R1, with fewer kills than benchmarks/kill_resume.py makes by itself."""
    script = benchmark("kill_resume")
    found = script.measure(tmp_path, kills=2, updates=12, seed=1)
    assert found["kills"] == 2
    assert (found["differing"], found["damaged_checkpoints"]) == ([], 0)


@pytest.mark.slow
def test_memory_does_not_grow(tmp_path: Path) -> None:
    """R8, in short: benchmarks/memory_slope.py has 20,000 updates."""
    script = benchmark("memory_slope")
    leaky = [(update, 300.0 + update / 100) for update in range(0, 600, 10)]
    assert script.line(leaky)["mib_per_1000_updates"] == pytest.approx(10)
    found = script.measure(tmp_path, updates=600, every=10)
    assert len(found["curve"]) >= 60 and found["growth_percent"] < 1
