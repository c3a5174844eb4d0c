"""Several workers train, measure and answer as one does; a lost one ends the run."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from conftest import Compose
from torch.distributed import TCPStore

from dvs2s.cli import evaluate, generate, train
from dvs2s.cli.entry import Interrupted
from dvs2s.config import TrainConfig
from dvs2s.data.prefetch import Prefetched
from dvs2s.parallel import watch
from dvs2s.training.checkpoint import resolve

UPDATES = 50
LONG = (
    f"trainer.max_updates={UPDATES}",
    "trainer.validate_every=20",
    "trainer.log_every=1",
    "data.valid=[test.tsv]",
    # 250 pairs: the last batch of an epoch has one pair, and some workers none of it
    "trainer.batch_size=83",
)


def forked(size: int, function: Callable[[int], Any]) -> list[int]:
    """Runs a function in each of several forks that torchrun could have started; exit codes."""
    store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    children = []
    for rank in range(size):
        child = os.fork()
        if child:
            children.append(child)
            continue
        code = 1
        try:
            os.environ |= {
                "RANK": str(rank),
                "LOCAL_RANK": str(rank),
                "WORLD_SIZE": str(size),
                "MASTER_ADDR": "127.0.0.1",
                "MASTER_PORT": str(store.port),
                "TORCHELASTIC_USE_AGENT_STORE": "True",
            }
            function(rank)
            code = 0
        except Interrupted:
            code = 75
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    return [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]


def curve(run_dir: Path) -> dict[tuple[int, str], float]:
    """Every number of the log by update and name."""
    rows = [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]
    return {
        (row["update"], name): value
        for row in rows
        for name, value in row.items()
        if isinstance(value, float) and "table_megabytes" not in name
    }


def contents(run_dir: Path) -> dict[str, bytes]:
    """Everything that a run computes."""
    last = resolve(run_dir, "last")
    names = ("model", "objective", "optimizer")
    found = {name: (last / f"{name}.safetensors").read_bytes() for name in names}
    return {**found, "metrics": (run_dir / "metrics.jsonl").read_bytes()}


def worst(one: Mapping[Any, float], other: Mapping[Any, float], *names: str) -> float:
    """The largest relative difference of the values with one of these names."""
    assert one.keys() == other.keys()
    kept = [key for key in one if key[1] in names]
    assert kept
    return max(abs(one[key] - other[key]) / abs(one[key]) for key in kept)


OBJECTIVES = {
    "joint": (2, ("objective=dvs2s",)),
    # a running baseline, sampled negatives and AdaDelta; an update of two batches
    "paper": (
        2,
        ("objective=dvs2s_paper", "objective.negatives.number=20", "trainer.accumulate=2")
        + ("optim=adadelta", "optim.lr=1.0"),
    ),
    "plain": (3, ("objective=s2sa",)),
    "cvae": (2, ("objective=cvae", "model.latent_size=8")),
}


@pytest.mark.parametrize("name", OBJECTIVES)
def test_workers_make_the_curve_of_one(
    compose: Compose, tiny: tuple[str, ...], tmp_path: Path, name: str
) -> None:
    size, options = OBJECTIVES[name]

    def config(run: str) -> TrainConfig:
        found = compose("train", *tiny, *LONG, *options, f"trainer.run={tmp_path / run}")
        assert isinstance(found, TrainConfig)
        return found

    one, several = config("one"), config("several")
    train.main(one)
    assert forked(size, lambda rank: train.main(several)) == [0] * size
    expected, found = curve(tmp_path / "one"), curve(tmp_path / "several")
    assert (UPDATES, "train/loss") in expected
    assert worst(expected, found, "train/loss", "valid/loss", "train/gradient_norm") < 1e-5


def test_stopped_workers_go_on_bit_for_bit(
    compose: Compose, tiny: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    short = ("trainer.max_updates=12", "trainer.validate_every=4", "trainer.log_every=1")

    def config(run: str) -> TrainConfig:
        found = compose("train", *tiny, *short, f"trainer.run={tmp_path / run}")
        assert isinstance(found, TrainConfig)
        return found

    whole, pieces = config("whole"), config("pieces")
    assert forked(2, lambda rank: train.main(whole)) == [0, 0]
    step, made = Prefetched.__next__, 0

    def stopping(self: Any) -> Any:
        nonlocal made
        made += 1
        if made == 7 and os.environ["RANK"] == "1":  # only one of them is told
            os.kill(os.getpid(), signal.SIGTERM)
        return step(self)

    with monkeypatch.context() as patch:
        patch.setattr(Prefetched, "__next__", stopping)
        assert forked(2, lambda rank: train.main(pieces)) == [75, 75]
    shutil.copytree(tmp_path / "pieces", tmp_path / "alone")
    assert forked(2, lambda rank: train.main(pieces)) == [0, 0]
    assert contents(tmp_path / "pieces") == contents(tmp_path / "whole")
    train.main(config("alone"))  # one worker goes on with the run of two
    pairs = curve(tmp_path / "alone"), curve(tmp_path / "whole")
    assert worst(*pairs, "train/loss", "valid/loss") < 1e-5


@pytest.mark.parametrize("search", ["search.kind=greedy", "search.kind=sampling"])
def test_workers_answer_and_measure_what_one_does(
    compose: Compose, run_dir: Path, tmp_path: Path, search: str
) -> None:
    lines = [f"do you have any w{i} ?\tand you ?\n" * (1 + i % 2) for i in range(9)]
    (tmp_path / "in").write_text("".join(lines))
    given = (f"checkpoint={run_dir}", search)

    def answer(name: str) -> None:
        files = (f"input={tmp_path}/in", f"output={tmp_path}/{name}.txt", "batch_size=2")
        generate.main(compose("generate", *given, *files))
        outs = (f"out={tmp_path}/{name}.json", f"replies={tmp_path}/{name}.jsonl")
        evaluate.main(compose("evaluate", *given, *outs, "batch_size=5", "threads=1"))

    # in a fork, too: what a process has computed with may not be there after the next fork
    assert forked(1, lambda rank: answer("one")) == [0]
    assert forked(3, lambda rank: answer("three")) == [0, 0, 0]
    for end in ("txt", "jsonl"):
        assert (tmp_path / f"three.{end}").read_bytes() == (tmp_path / f"one.{end}").read_bytes()
    reports = [json.loads((tmp_path / f"{name}.json").read_text()) for name in ("one", "three")]
    times = [report["metrics"].pop("ms per reply") for report in reports]
    assert all(times) and reports[0] == reports[1]
    assert (tmp_path / "one.txt").read_text().count("\n") == 13


@pytest.mark.slow
def test_a_killed_worker_ends_the_run_with_a_message(tiny: tuple[str, ...], tmp_path: Path) -> None:
    endless = ("trainer.max_updates=1000000", "trainer.log_every=1", "trainer.save_every=5")
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    arguments = ["-m", "dvs2s.cli.train", *tiny, *endless, f"trainer.run={tmp_path}/run"]
    with open(tmp_path / "said", "w+") as said:
        launcher = subprocess.Popen(
            [*command, *arguments],
            stderr=said,
            stdout=said,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
        try:
            log = tmp_path / "run" / "metrics.jsonl"
            wait(lambda: log.exists() and log.read_bytes().count(b"\n") > 7, launcher, 300)
            children = Path(f"/proc/{launcher.pid}/task/{launcher.pid}/children").read_text()
            os.kill(int(children.split()[-1]), signal.SIGKILL)
            assert launcher.wait(timeout=300) != 0
        finally:
            launcher.kill()
        said.seek(0)
        text = said.read()
    assert "another worker has died or does not answer" in text, text
    assert "the same command continues from it" in text
    assert resolve(tmp_path / "run", "last").exists()


def test_a_silent_worker_ends_the_run_with_a_message(tmp_path: Path) -> None:
    """One that hangs without closing its connections, as a machine that is cut off does."""

    def work(rank: int) -> None:
        with open(tmp_path / str(rank), "w") as said:
            os.dup2(said.fileno(), sys.stderr.fileno())
            sys.stderr = said
            if rank == 1:  # never says a word
                time.sleep(4.0)
                os._exit(3)
            with watch.Watch(rank, 2, beat=0.1, silence=1.0):
                time.sleep(60.0)

    assert forked(2, work) == [watch.RESUME_ME, 3]
    assert "worker 1 is silent for 1 seconds" in (tmp_path / "0").read_text()


def wait(condition: Callable[[], bool], process: "subprocess.Popen[bytes]", seconds: float) -> None:
    """Waits until the condition holds, no longer than the process lives."""
    until = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None and time.monotonic() < until
        time.sleep(0.05)
