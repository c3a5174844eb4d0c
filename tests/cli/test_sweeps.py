"""Sweeps from end to end: jobs fail alone, a stop loses nothing, and one command sums up."""

import csv
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from conftest import Command

from dvs2s.sweeps import measure
from dvs2s.sweeps.status import LOCK, JobStatus, jobs, this_process, write_status
from dvs2s.training.checkpoint import resolve
from dvs2s.training.lock import RunLock
from dvs2s.training.tracker import Tracker

SHORT = (
    "trainer.max_updates=8",
    "trainer.validate_every=4",
    "trainer.save_every=3",
    "trainer.samples=0",
    "optim.warmup=2",
)


@pytest.fixture
def sweep(tiny: tuple[str, ...], tmp_path: Path) -> tuple[str, ...]:
    return ("-m", *tiny, *SHORT, f"hydra.sweep.dir={tmp_path}/sweep")


def states(folder: Path) -> dict[str, str]:
    return {at.name: status.state for at, status in jobs(folder).items()}


def weights(run: Path) -> list[bytes]:
    last = resolve(run, "last")
    names = ("model.safetensors", "objective.safetensors", "optimizer.safetensors")
    return [*((last / name).read_bytes() for name in names), (run / "metrics.jsonl").read_bytes()]


def test_a_failed_job_stops_no_other_and_does_not_disappear(
    command: Command, sweep: tuple[str, ...], tmp_path: Path
) -> None:
    ran = command("train", *sweep, "model.dropout=0.1,3,0.2")
    assert ran.code == 1
    folder = tmp_path / "sweep"
    expected = {"0.1": "finished", "0.2": "finished", "3": "failed"}
    assert states(folder) == {f"model.dropout={value}": s for value, s in expected.items()}
    reason = "model.dropout must be at least 0 and below 1, got 3"
    assert f"failed: model.dropout=3: {reason}" in ran.err
    assert "ConfigError" in (folder / "model.dropout=3" / "error.txt").read_text()

    def never(*rest: Any) -> None:
        pytest.fail("a finished job was run again")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(measure, "load", never)
        again = command("train", *sweep, "model.dropout=0.1,3,0.2")
    assert again.code == 1 and again.err.count("is finished already") == 2
    # a new value joins, and the failed one is not asked for any more
    more = command("train", *sweep, "model.dropout=0.1,0.3")
    assert states(folder)["model.dropout=0.3"] == "finished" and more.code == 1

    other = command("train", *sweep, "model.dropout=0.1,0.2", "optim.lr=0.01")
    assert other.code == 2
    assert "holds another sweep: it had optim.lr=0.02 and this command has" in other.err

    summed = command("summary", f"folder={folder}", "resamples=3")
    assert summed.code == 0
    with open(folder / "summary.csv", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["state"] for row in rows] == ["finished"] * 3 + ["failed"]
    losses = [float(row["loss"]) for row in rows[:3]]
    assert losses == sorted(losses)
    assert f"`{rows[0]['checkpoint']}`" in summed.out and reason in summed.out
    assert Path(rows[0]["checkpoint"]) == resolve(folder / rows[0]["job"])
    assert (folder / "parallel.png").read_bytes().startswith(b"\x89PNG")


def test_a_stopped_sweep_goes_on_as_if_it_had_not_stopped(
    command: Command, sweep: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = [a.replace("/sweep", "/whole") for a in sweep]
    seeds = "trainer.seed=0,1,2"
    assert command("train", *whole, seeds).code == 0
    log = Tracker.log

    def stopping(self: Tracker, update: int, *rest: Any) -> None:
        log(self, update, *rest)
        if update == 5 and "seed=1" in str(self._file.name):
            os.kill(os.getpid(), signal.SIGTERM)

    with monkeypatch.context() as patch:
        patch.setattr(Tracker, "log", stopping)
        stopped = command("train", *sweep, seeds)
    assert stopped.code == 75
    assert stopped.err.endswith("stopped: the same command continues\n")
    folder = tmp_path / "sweep"
    found = {"trainer.seed=0": "finished", "trainer.seed=1": "interrupted"}
    assert states(folder) == found  # the third did not begin
    assert command("train", *sweep, seeds).code == 0
    for seed in range(3):
        name = f"trainer.seed={seed}"
        assert weights(folder / name) == weights(tmp_path / "whole" / name)


def test_a_sweep_in_use_is_refused(
    command: Command, sweep: tuple[str, ...], tmp_path: Path
) -> None:
    with RunLock(tmp_path / "sweep"):
        ran = command("train", *sweep, "trainer.seed=0,1")
    assert ran.code == 2 and f"is in use by process {os.getpid()}" in ran.err
    assert not jobs(tmp_path / "sweep")


def test_the_folder_follows_from_the_command(
    command: Command, tiny: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for seeds in ("0", "0,1"):  # a sweep of one, then one more: the first is not run again
        ran = command("train", "-m", *tiny, *SHORT, f"trainer.seed=choice({seeds})")
        assert ran.code == 0
    (folder,) = (tmp_path / "multirun").iterdir()
    assert states(folder) == {"trainer.seed=0": "finished", "trainer.seed=1": "finished"}
    assert "is finished already" in ran.err and folder.name in ran.err


def test_a_run_worse_than_the_median_is_given_up(
    command: Command, sweep: tuple[str, ...], tmp_path: Path
) -> None:
    rule = ("sweep.prune=median", "sweep.prune_startup=2", "sweep.prune_warmup=4")
    # learning rates that learn, and one that does not
    ran = command("train", *sweep, *rule, "optim.lr=0.02,0.03,1e-9")
    assert ran.code == 0, ran.err
    assert sorted(states(tmp_path / "sweep").values()) == ["finished", "finished", "pruned"]
    (given_up,) = [s for s in jobs(tmp_path / "sweep").values() if s.state == "pruned"]
    assert given_up.facts["updates"] == 4 and given_up.values["loss"] > 3


@pytest.mark.filterwarnings("ignore")  # of Optuna 2.10, which the plugin needs
def test_an_optuna_study_goes_on(
    command: Command, sweep: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("hydra_plugins.hydra_optuna_sweeper", reason="needs dvs2s[sweep]")
    arguments = [a for a in sweep if not a.startswith(("optim.lr", "model."))]
    arguments += ["sweep=optuna", "hydra.sweeper.n_trials=4", "sweep.decode_messages=2"]
    log = Tracker.log
    begun: list[str] = []

    def stopping(self: Tracker, update: int, *rest: Any) -> None:
        log(self, update, *rest)
        name = Path(self._file.name).parent.name
        begun.extend({name} - set(begun))
        if update == 5 and len(begun) == 2:
            os.kill(os.getpid(), signal.SIGTERM)

    with monkeypatch.context() as patch:
        patch.setattr(Tracker, "log", stopping)
        stopped = command("train", *arguments, "model.dropout=0.1")
    folder = tmp_path / "sweep"
    assert stopped.code == 75, stopped.err
    assert states(folder) == {begun[0]: "finished", begun[1]: "interrupted"}
    assert command("train", *arguments, "model.dropout=0.1").code == 0
    found = jobs(folder)
    assert len(found) == 4 and all(status.is_done for status in found.values())
    assert states(folder)[begun[1]] in ("finished", "pruned")

    import optuna

    study = optuna.load_study(study_name="dvs2s", storage=f"sqlite:///{folder}/study.db")
    trials = study.get_trials(states=[optuna.trial.TrialState.COMPLETE])
    told = {tuple(trial.values) for trial in trials}
    assert told == {(s.values["loss"], s.values["decode_ms"]) for s in found.values()}
    assert len(trials) == 4
    assert command("train", *arguments, "model.dropout=0.1").code == 0
    assert len(study.get_trials(states=[optuna.trial.TrialState.COMPLETE])) == 4
    summed = command("summary", f"folder={folder}")
    assert "Not beaten in every one of loss, decode_ms" in summed.out
    assert json.loads((folder / "summary.json").read_text())["front"]


def test_without_the_plugin_the_extra_is_named(command: Command, sweep: tuple[str, ...]) -> None:
    ran = command("train", *sweep, "hydra/launcher=submitit_nowhere", "trainer.seed=0,1")
    assert ran.code == 2 and ran.err.splitlines()[-1].endswith("pip install 'dvs2s[slurm]'")


# In each process of the pool, the job of seed 1 dies as if the system had killed it: after that
# of seed 0, or while it runs and so takes it along.
PATCH = """
import os, pathlib, signal, time
from dvs2s.training import tracker
log = tracker.Tracker.log
begun, gone = pathlib.Path("begun"), pathlib.Path("gone")
together = os.environ["DVS2S_TEST_DIES"] == "together" and not gone.exists()
def until(condition):
    end = time.monotonic() + 60
    while not condition() and time.monotonic() < end:
        time.sleep(0.01)
def dying(self, update, *rest):
    log(self, update, *rest)
    if update == 5 and "seed=1" in str(self._file.name):
        until(begun.exists)
        gone.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    if update == 5 and "seed=0" in str(self._file.name):
        begun.touch()
        until(lambda: not together)
tracker.Tracker.log = dying
"""


@pytest.mark.slow
@pytest.mark.parametrize("death", ["after", "together"])
def test_a_process_that_dies_takes_no_other_job_with_it(
    death: str, sweep: tuple[str, ...], tmp_path: Path
) -> None:
    pytest.importorskip("hydra_plugins.hydra_joblib_launcher", reason="needs dvs2s[sweep]")
    site = tmp_path / "site"
    site.mkdir()
    (site / "sitecustomize.py").write_text(
        f"import os\nif os.environ.get('DVS2S_TEST_DIES'):\n    exec({PATCH!r})\n"
    )
    process = subprocess.run(
        [
            sys.executable,
            "-m",
            "dvs2s.cli.train",
            *sweep,
            "trainer.seed=0,1,2",
            "hydra/launcher=joblib",
            "hydra.launcher.n_jobs=2",
        ],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        timeout=300,
        env={
            **os.environ,
            "OMP_NUM_THREADS": "1",
            "DVS2S_TEST_DIES": death,
            "PYTHONPATH": os.pathsep.join([str(site), *sys.path]),
        },
    )
    expected = {"trainer.seed=0": "finished", "trainer.seed=1": "failed"}
    assert states(tmp_path / "sweep") == {**expected, "trainer.seed=2": "finished"}
    assert process.returncode == 1
    assert "trainer.seed=1: its process died without a word" in process.stderr
    if death == "together":
        assert "2 jobs died with their pool: going on one by one" in process.stderr


def test_a_killed_job_is_told_from_a_running_one(command: Command, tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        status = JobStatus("running", [f"x={name}"], process=this_process())
        write_status(tmp_path / name, status)
    with RunLock(tmp_path / "b", name=LOCK):
        ran = command("summary", f"folder={tmp_path}")
    assert "- `a`: killed" in ran.out and "- `b`: running" in ran.out
