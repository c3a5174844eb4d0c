"""A tiny run with everything that can go wrong in a resume: dropout, ties, buffers, epochs."""

import json
import os
import random
import signal
import sys
import time
import traceback
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from dvs2s.objectives.terms import LossTerms
from dvs2s.training.checkpoint import prepare_run, resolve
from dvs2s.training.lock import RunLock
from dvs2s.training.loop import Outcome, train
from dvs2s.training.manifest import verify_members
from dvs2s.training.options import LoopOptions
from dvs2s.training.resume import Saver, restore
from dvs2s.training.schedule import HalveOnPlateau, WarmUp, adadelta, adamw
from dvs2s.training.tracker import Tracker

WIDTH = 6
OPTIONS = LoopOptions(
    max_updates=18,
    validate_every=5,
    save_every=4,
    log_every=3,
    accumulate=2,
    clip_norm=0.05,
    seed=7,
    progress="none",
)
# Each kind of save, and the retirement of a checkpoint, within few file operations.
SHORT = replace(OPTIONS, max_updates=6, save_every=2)


@dataclass(frozen=True)
class ToyBatch:
    inputs: Tensor
    index: Tensor

    @property
    def num_tokens(self) -> int:
        return int(self.inputs.shape[0])

    def to(self, device):
        return ToyBatch(self.inputs.to(device), self.index.to(device))


class ToyBatches:
    """Epochs of seven batches of one to four rows, in an order of (seed, epoch)."""

    def __init__(self, *, poison=(), before=None):
        self._epoch = 0
        self._position = 0
        self._poison = set(poison)
        self._before = before
        self._drawn = 0

    def __next__(self):
        self._drawn += 1
        if self._before is not None:
            self._before(self._drawn)
        order = np.random.default_rng([3, self._epoch]).permutation(7)
        number = int(order[self._position])
        rows = number % 4 + 1
        generator = torch.Generator().manual_seed(number)
        inputs = torch.randn(rows, WIDTH, generator=generator)
        if self._epoch * 7 + self._position in self._poison:
            inputs[0, 0] = float("nan")
        self._position += 1
        if self._position == 7:
            self._epoch, self._position = self._epoch + 1, 0
        return ToyBatch(inputs, torch.arange(rows) + 100 * number)

    def state_dict(self):
        return {"epoch": self._epoch, "position": self._position}

    def load_state_dict(self, state):
        self._epoch, self._position = state["epoch"], state["position"]


class ToyModel(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.Linear(WIDTH, WIDTH)
        self.drop = nn.Dropout(0.4)
        self.second = nn.Linear(WIDTH, WIDTH)
        self.second.weight = self.first.weight

    def forward(self, inputs):
        return self.second(self.drop(torch.tanh(self.first(inputs))))


class ToyObjective(nn.Module):
    """Reconstruction plus a sampled part with a running baseline."""

    def __init__(self):
        super().__init__()
        self.model = ToyModel()
        self.scale = nn.Parameter(torch.ones(()))
        self.register_buffer("baseline", torch.zeros(2))
        self.temperature = 0.0

    def begin_update(self, update):
        self.temperature = 1.0 / update

    def forward(self, batch):
        output = self.model(batch.inputs) * self.scale
        error = (output - batch.inputs).pow(2).mean()
        noise = torch.rand(()) * self.temperature
        if self.training:
            self.baseline = 0.9 * self.baseline + 0.1 * torch.stack([error.detach(), noise])
        total = error + noise * (output.mean() - self.baseline[0])
        return LossTerms(total, batch.num_tokens, {"error": error.detach(), "noise": noise})


def build(optimizer="adadelta"):
    """Returns a fresh objective, its optimiser and schedule; the same at each call."""
    torch.manual_seed(1)
    objective = ToyObjective()
    match optimizer:
        case "adadelta":
            return objective, adadelta(objective.parameters()), HalveOnPlateau(1.0)
        case "adamw":
            schedule = WarmUp(0.05, warmup=4, decay="cosine", total=18)
            return objective, adamw(objective.parameters()), schedule
    raise ValueError(optimizer)


def toy_validate(objective):
    """A loss that is sometimes no new best, after draws that could disturb the training."""
    torch.rand(5)
    next(ToyBatches())
    return {"loss": float(objective(next(ToyBatches())).total) + float(torch.rand(()))}


def run(run_dir, *, optimizer="adadelta", options=OPTIONS, batches=None, validate=None) -> Outcome:
    """The life of one process: lock, tidy, resume where there is something, train."""
    torch.set_num_threads(1)
    run_dir = Path(run_dir)
    objective, optimizer_, schedule = build(optimizer)
    with RunLock(run_dir):
        last = prepare_run(run_dir)
        state = None if last is None else restore(last, objective, optimizer_)
        update = 0 if state is None else state["loop"]["update"]
        saver = Saver(run_dir, objective, optimizer_, {"toy": 1}, b'{"words": []}\n')
        with Tracker(run_dir, update=update) as tracker:
            return train(
                objective,
                batches or ToyBatches(),
                optimizer_,
                schedule,
                options=options,
                validate=validate or (lambda: toy_validate(objective)),
                save=saver,
                tracker=tracker,
                state=state,
            )


def stop_at(update, number=signal.SIGTERM):
    """Batches that send this process a signal while ``update`` of this process is made."""

    def before(drawn):
        if drawn == OPTIONS.accumulate * update:
            os.kill(os.getpid(), number)

    return ToyBatches(before=before)


def contents(run_dir):
    """Everything a run leaves that may not depend on how often it was interrupted."""
    run_dir = Path(run_dir)
    found = {"metrics": (run_dir / "metrics.jsonl").read_bytes()}
    for path in sorted((run_dir / "checkpoints").rglob("*")):
        if path.is_dir() or path.name == "manifest.json":
            continue
        data = path.read_bytes()
        if path.name == "state.json":
            record = json.loads(data)
            del record["state"]["loop"]["seconds"]
            data = json.dumps(record).encode()
        # A run stopped before a validation saves that update twice; the second one stays.
        name = str(path.relative_to(run_dir)).replace("-2/", "/")
        assert name not in found
        found[name] = data.replace(b'-2"', b'"')
    return found


def die_at(run_dir, operation):
    """Runs until the given call of fsync, rename or replace, and dies there like kill -9."""
    count = 0

    def counted(original):
        def call(*arguments, **options):
            nonlocal count
            count += 1
            if count == operation:
                os._exit(137)
            return original(*arguments, **options)

        return call

    os.fsync, os.rename, os.replace = map(counted, (os.fsync, os.rename, os.replace))
    run(run_dir, options=SHORT)


def forked(function, *arguments, kill_after=None) -> int:
    """Runs a function in a fork of this process, killed after so many seconds; -9 if it was."""
    child = os.fork()
    if child == 0:
        try:
            function(*arguments)
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    if kill_after is not None:
        time.sleep(kill_after)
        os.kill(child, signal.SIGKILL)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def check_loadable(run_dir):
    """R1: whatever a pointer names is whole."""
    for which in ("last", "best"):
        if (run_dir / "checkpoints" / f"{which}.json").exists():
            verify_members(resolve(run_dir, which))


def run_slowly(run_dir):
    """Takes three times as long as the longest of the random lives at the least."""
    run(run_dir, batches=ToyBatches(before=lambda drawn: time.sleep(0.01)))


def kill_at_random(run_dir):
    """Starts one run again and again and kills it at random moments, then lets it finish."""
    rng = random.Random(5)
    for _ in range(12):
        status = forked(run_slowly, run_dir, kill_after=rng.uniform(0.0, 0.12))
        assert status in (0, -signal.SIGKILL), status
        print("killed" if status else "too late", end=" ")
        check_loadable(run_dir)
    assert forked(run, run_dir) == 0


def kill_everywhere(run_dir):
    """Kills one run at each kind of file operation of its first checkpoints."""
    # The first checkpoint: start, rename, pointer. The second: retirement of the first. The
    # third, which is the first best: from its rename over both pointers to the retirement.
    for operation in (1, 9, 12, 28, *range(38, 47)):
        run_dir_ = run_dir / str(operation)
        assert forked(die_at, run_dir_, operation) == 137
        check_loadable(run_dir_)


def run_until_stopped(run_dir):
    """Runs without end, as a front end would: exit code 75 means "resume me"."""
    options = replace(OPTIONS, max_updates=1_000_000, save_every=1000, validate_every=1000)

    def before(drawn):
        if drawn == 20:
            print("going", flush=True)

    outcome = run(run_dir, options=options, batches=ToyBatches(before=before))
    print(outcome.reason, outcome.update, flush=True)
    sys.exit(75 if outcome.reason == "interrupted" else 0)


def hold(run_dir):
    """Holds a run's lock until standard input ends."""
    with RunLock(run_dir):
        print("held", flush=True)
        sys.stdin.read()


def import_lazily_loaded():
    """Makes one update, so that the forks need not load what torch loads at the first one."""
    objective, optimizer, _ = build()
    objective(next(ToyBatches())).total.backward()
    optimizer.step()


if __name__ == "__main__":
    torch.set_num_threads(1)
    import_lazily_loaded()
    acts = {act.__name__: act for act in (kill_at_random, kill_everywhere, run_until_stopped, hold)}
    acts[sys.argv[1]](Path(sys.argv[2]))
