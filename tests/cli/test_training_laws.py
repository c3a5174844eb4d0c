"""Through the front end: a seed is a run, a stop changes nothing, misuse is refused."""

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import Command

from dvs2s.data.synthetic import make_task, write_tsv
from dvs2s.training.checkpoint import resolve
from dvs2s.training.lock import RunLock
from dvs2s.training.tracker import Tracker

UPDATES, BOUNDARY = 16, 8
SHORT = (
    f"trainer.max_updates={UPDATES}",  # pre-training ends after half of them
    "trainer.validate_every=4",
    "trainer.save_every=5",
    "trainer.log_every=1",
)
# A process that is told to stop while it logs a certain update.
STOPPED = """
import os, runpy, signal, sys
from dvs2s.training.tracker import Tracker
log, stop_at = Tracker.log, int(sys.argv.pop(1))
def stopping(self, update, *rest):
    log(self, update, *rest)
    if update == stop_at:
        os.kill(os.getpid(), signal.SIGTERM)
Tracker.log = stopping
runpy.run_module("dvs2s.cli.train", run_name="__main__", alter_sys=True)
"""


def contents(run_dir: Path) -> dict[str, bytes]:
    """Everything that a run computes."""
    last = resolve(run_dir, "last")
    names = ("model", "objective", "optimizer")
    found = {name: (last / f"{name}.safetensors").read_bytes() for name in names}
    return {**found, "metrics": (run_dir / "metrics.jsonl").read_bytes(), "": last.name.encode()}


def stop_while_logging(patch: pytest.MonkeyPatch, stop_at: int) -> None:
    """This process is told to stop while it logs the update ``stop_at``."""
    log = Tracker.log

    def stopping(self: Tracker, update: int, *rest: Any) -> None:
        log(self, update, *rest)
        if update == stop_at:
            os.kill(os.getpid(), signal.SIGTERM)

    patch.setattr(Tracker, "log", stopping)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("whole")


@pytest.fixture
def expected(command: Command, tiny: tuple[str, ...], whole: Path) -> dict[str, bytes]:
    """What an undisturbed run computes; made once."""
    if not (whole / "metrics.jsonl").exists():
        assert command("train", *tiny, *SHORT, f"trainer.run={whole}").code == 0
    return contents(whole)


def test_a_seed_is_a_run(
    command: Command, tiny: tuple[str, ...], tmp_path: Path, expected: dict[str, bytes]
) -> None:
    assert b"train/bound" in expected["metrics"]
    for run, seed in (("same", 0), ("other", 1)):
        place = (f"trainer.run={tmp_path / run}", f"trainer.seed={seed}")
        assert command("train", *tiny, *SHORT, *place).code == 0
    assert contents(tmp_path / "same") == expected
    other = contents(tmp_path / "other")
    assert other["model"] != expected["model"] and other["metrics"] != expected["metrics"]


# At update 12 a validation is due: the resumed run begins with it, in the second stage.
@pytest.mark.parametrize("stop_at", [BOUNDARY - 1, BOUNDARY + 1, 12])
def test_a_stopped_run_goes_on_as_if_it_had_not_stopped(
    command: Command,
    tiny: tuple[str, ...],
    tmp_path: Path,
    expected: dict[str, bytes],
    monkeypatch: pytest.MonkeyPatch,
    stop_at: int,
) -> None:
    arguments = (*tiny, *SHORT, f"trainer.run={tmp_path}")
    with monkeypatch.context() as patch:
        stop_while_logging(patch, stop_at)
        stopped = command("train", *arguments)
    assert stopped.code == 75
    sentence = f"interrupted at update {stop_at}, saved in {tmp_path}: the same command continues"
    assert stopped.err.endswith(sentence + "\n")
    assert contents(tmp_path) != expected
    resumed = command("train", *arguments)
    assert resumed.code == 0
    assert f"continuing {tmp_path} at update {stop_at}: " in resumed.err
    assert contents(tmp_path) == expected


def test_a_stopped_process_and_a_new_one(
    tiny: tuple[str, ...], tmp_path: Path, expected: dict[str, bytes]
) -> None:
    arguments = [*tiny, *SHORT, f"trainer.run={tmp_path}/run"]
    codes = []
    for start in (["-c", STOPPED, str(BOUNDARY)], ["-m", "dvs2s.cli.train"]):
        process = subprocess.run(
            [sys.executable, *start, *arguments],
            capture_output=True,
            text=True,
            cwd=tmp_path,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            timeout=120,
        )
        assert "Traceback" not in process.stderr
        codes.append(process.returncode)
    assert codes == [75, 0]
    assert contents(tmp_path / "run") == expected


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of torch's own compiler
def test_compiled_steps_make_the_same_curve_and_go_on_bit_for_bit(
    command: Command,
    tiny: tuple[str, ...],
    tmp_path: Path,
    expected: dict[str, bytes],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    arguments = (*tiny, *SHORT, "trainer.compile=true")
    whole = tmp_path / "whole"
    assert command("train", *arguments, f"trainer.run={whole}").code == 0
    curves = [contents(whole)["metrics"], expected["metrics"]]
    assert curves[0] != curves[1]  # or nothing was compiled
    points = [[json.loads(line) for line in curve.splitlines()] for curve in curves]
    losses = [[point["train/loss"] for point in curve if "train/loss" in point] for curve in points]
    assert len(losses[1]) == UPDATES and losses[0] == pytest.approx(losses[1], rel=1e-4)

    with monkeypatch.context() as patch:
        stop_while_logging(patch, BOUNDARY + 1)
        assert command("train", *arguments, f"trainer.run={tmp_path}/stopped").code == 75
    torch._dynamo.reset()  # a new process compiles for the batch that it meets first
    assert command("train", *arguments, f"trainer.run={tmp_path}/stopped").code == 0
    assert contents(tmp_path / "stopped") == contents(whole)


def test_without_a_compiler_the_option_is_refused(
    command: Command, tiny: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none_here(*_: Any) -> None:
        raise RuntimeError("No working C++ compiler found\nand so on")

    monkeypatch.setattr(torch, "compile", none_here)
    ran = command("train", *tiny, f"trainer.run={tmp_path}/run", "trainer.compile=true")
    assert ran.code == 2
    assert ran.err.splitlines()[-1] == (
        "error: trainer.compile needs torch.compile: No working C++ compiler found: "
        "set trainer.compile=false"
    )


@pytest.fixture
def interrupted(whole: Path, expected: dict[str, bytes], tmp_path: Path) -> Path:
    """A copy of a run that may be continued."""
    return Path(shutil.copytree(whole, tmp_path / "run"))


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ("model.dropout=0.3", "model.dropout (0.1 before, 0.3 now)"),
        ("optim.lr=0.5", "optim.lr (0.02 before, 0.5 now)"),
        ("trainer.seed=4", "trainer.seed (0 before, 4 now)"),
        ("objective.num_samples=3", "objective.num_samples (2 before, 3 now)"),
        ("trainer.max_updates=99", f"trainer.max_updates ({UPDATES} before, 99 now)"),
        ("trainer.resume=false", "already holds a run and trainer.resume=false"),
    ],
)
def test_a_changed_option_is_refused_by_name(
    command: Command, tiny: tuple[str, ...], interrupted: Path, changed: str, reason: str
) -> None:
    before = contents(interrupted)
    ran = command("train", *tiny, *SHORT, f"trainer.run={interrupted}", changed)
    assert ran.code == 2 and reason in ran.err.splitlines()[-1]
    assert contents(interrupted) == before


def test_options_that_change_no_number_may_change(
    command: Command, tiny: tuple[str, ...], interrupted: Path
) -> None:
    free = ("trainer.keep=3", "trainer.max_minutes=9", "trainer.samples=1", "search.beam=2")
    ran = command("train", *tiny, *SHORT, f"trainer.run={interrupted}", *free)
    assert ran.code == 0 and f"continuing {interrupted} at update {UPDATES}" in ran.err


def test_a_changed_corpus_is_refused(
    command: Command, tiny: tuple[str, ...], corpus: Path, interrupted: Path, tmp_path: Path
) -> None:
    other = Path(shutil.copytree(corpus, tmp_path / "corpus"))
    write_tsv(other / "train.tsv", make_task(250, num_topics=4, words_per_topic=3, seed=9).pairs)
    place = (f"data.root={other}", f"data.prepared={other}/prepared")
    ran = command("train", *tiny, *SHORT, f"trainer.run={interrupted}", *place)
    assert ran.code == 2 and "differs from the one that made it in the corpus" in ran.err


def test_a_run_in_use_is_refused(
    command: Command, tiny: tuple[str, ...], interrupted: Path
) -> None:
    with RunLock(interrupted):
        ran = command("train", *tiny, *SHORT, f"trainer.run={interrupted}")
    assert ran.code == 2
    assert f"{interrupted} is in use by process {os.getpid()}" in ran.err.splitlines()[-1]


def test_the_plain_baseline_from_end_to_end(
    command: Command, tiny: tuple[str, ...], tmp_path: Path
) -> None:
    run = f"checkpoint={tmp_path}"
    plain = ("objective=s2sa", f"trainer.run={tmp_path}")
    assert command("train", *tiny, *SHORT, *plain).code == 0
    ran = command("generate", run, stdin=b"do you have any mubade?\n")
    assert ran.code == 0 and ran.out.count("\n") == 1
    evaluated = command("evaluate", run, "search=greedy")
    assert "S2SA" in evaluated.out and "perplexity over V" in evaluated.out
    assert "recall" not in evaluated.out and "greedy, full vocabulary" in evaluated.out
    refused = command("generate", run, "search.vocabulary=size", stdin=b"hello\n")
    assert refused.code == 2
    assert "needs a word predictor" in refused.err.splitlines()[-1]
