"""Laws of the loop: resume, skipping, endings, signals."""

import io
import json
import math
import os
import signal
import subprocess
import sys
from dataclasses import replace

import pytest
import torch
import training_toy as toy
from torch import nn

from dvs2s.errors import CheckpointError
from dvs2s.objectives.terms import LossTerms
from dvs2s.training.checkpoint import load_tensors, read_state, resolve
from dvs2s.training.loop import DivergenceError, train
from dvs2s.training.options import LoopOptions
from dvs2s.training.progress import Progress
from dvs2s.training.schedule import adamw
from dvs2s.training.seeds import mix
from dvs2s.training.signals import StopSignal
from dvs2s.training.update import run_update


@pytest.mark.parametrize(
    ("optimizer", "updates"), [("adadelta", [1, 4, 5, 6, 7, 10, 17, 18]), ("adamw", [3, 8, 11, 15])]
)
def test_interrupted_anywhere_equals_uninterrupted(tmp_path, optimizer, updates):
    """R1, R7: whatever the update, also before a validation, in an epoch, in a log window."""
    assert toy.run(tmp_path / "whole", optimizer=optimizer).reason == "finished"
    expected = toy.contents(tmp_path / "whole")
    assert b"valid/loss" in expected["metrics"]
    for update in updates:
        run_dir = tmp_path / f"stopped-{update}"
        first = toy.run(run_dir, optimizer=optimizer, batches=toy.stop_at(update))
        assert (first.update, first.reason) == (update, "interrupted")
        assert toy.run(run_dir, optimizer=optimizer).reason == "finished"
        assert toy.contents(run_dir) == expected, f"stopped at update {update}"


def test_interrupted_many_times_equals_uninterrupted(tmp_path):
    toy.run(tmp_path / "whole")
    while toy.run(tmp_path / "pieces", batches=toy.stop_at(2)).reason == "interrupted":
        pass
    assert toy.contents(tmp_path / "pieces") == toy.contents(tmp_path / "whole")


def test_validation_leaves_training_randomness_alone(tmp_path):
    def weights(run_dir, validate_every):
        options = replace(toy.OPTIONS, validate_every=validate_every)
        toy.run(run_dir, optimizer="adamw", options=options)
        return load_tensors(resolve(run_dir, "last"))

    often, seldom = weights(tmp_path / "often", 1), weights(tmp_path / "seldom", 18)
    assert all(torch.equal(often[name], seldom[name]) for name in often)


def test_validation_runs_in_eval_mode_and_restores_modes(tmp_path):
    objective, optimizer, schedule = toy.build()
    seen = []

    def validate():
        seen.append((objective.model.drop.training, torch.is_grad_enabled()))
        return {"loss": 1.0}

    def save(update, state, *, is_best):
        seen.append((objective.model.drop.training, torch.is_grad_enabled()))

    train(
        objective,
        toy.ToyBatches(),
        optimizer,
        schedule,
        options=replace(toy.OPTIONS, max_updates=1),
        validate=validate,
        save=save,
        tracker=Memory(),
    )
    assert seen == [(False, False), (True, True)]


class Memory:
    """A log that keeps what it gets."""

    def __init__(self):
        self.rows = []

    def log(self, update, values, text=None):
        self.rows.append((update, dict(values), text))


def test_seed_matters_and_update_matters(tmp_path):
    toy.run(tmp_path / "seven")
    toy.run(tmp_path / "eight", options=replace(toy.OPTIONS, seed=8))
    assert toy.contents(tmp_path / "seven") != toy.contents(tmp_path / "eight")
    seeds = {mix(seed, update, rank) for seed in range(9) for update in range(9) for rank in (0, 1)}
    assert len(seeds) == 162 and all(0 <= seed < 2**63 for seed in seeds)


class Rows(nn.Module):
    """Mean over a batch's rows of something without randomness."""

    def __init__(self):
        super().__init__()
        self.model = nn.Linear(toy.WIDTH, 1)

    def forward(self, batch):
        return LossTerms(self.model(batch.inputs).pow(2).mean(), batch.num_tokens)


def test_accumulated_batches_equal_one_large_batch():
    rows = torch.randn(7, toy.WIDTH, generator=torch.Generator().manual_seed(0))
    index = torch.arange(7)
    weights = []
    for cuts in ([0, 7], [0, 1, 4, 7]):
        torch.manual_seed(0)
        objective = Rows().double()
        batches = [
            toy.ToyBatch(rows[a:b].double(), index[a:b])
            for a, b in zip(cuts, cuts[1:], strict=False)
        ]
        optimizer = adamw(objective.parameters())
        result = run_update(objective, batches, optimizer=optimizer, lr=0.1, clip_norm=0.0)
        weights.append((objective.model.weight.detach(), result))
    (actual, parts), (expected, whole) = weights
    torch.testing.assert_close(actual, expected, rtol=1e-12, atol=1e-12)
    assert parts.loss == pytest.approx(whole.loss, rel=1e-12)
    assert parts.gradient_norm == pytest.approx(whole.gradient_norm, rel=1e-12)


def test_clipping_bounds_the_step():
    batch = toy.ToyBatch(torch.ones(2, toy.WIDTH) * 9, torch.arange(2))
    torch.manual_seed(0)
    objective = Rows()
    before = [parameter.detach().clone() for parameter in objective.parameters()]
    optimizer = torch.optim.SGD(objective.parameters(), lr=99.0)
    result = run_update(objective, [batch], optimizer=optimizer, lr=1.0, clip_norm=0.25)
    steps = [b - a.detach() for b, a in zip(before, objective.parameters(), strict=True)]
    actual = math.sqrt(sum(float(step.pow(2).sum()) for step in steps))
    assert result.gradient_norm > 1.0
    assert actual == pytest.approx(0.25, rel=1e-4)


def test_one_bad_update_is_skipped_without_a_trace(tmp_path):
    """R5: nothing of it stays, not even in the objective's running mean."""
    objective, optimizer, _ = toy.build("adamw")
    good, bad = toy.ToyBatches(), toy.ToyBatches(poison=[0])
    run_update(objective, [next(good)], optimizer=optimizer, lr=0.1, clip_norm=1.0)
    before = {name: tensor.clone() for name, tensor in objective.state_dict().items()}
    steps = [float(state["step"]) for state in optimizer.state.values()]
    result = run_update(objective, [next(bad)], optimizer=optimizer, lr=0.1, clip_norm=1.0)
    after = objective.state_dict()
    assert result.problem == "the loss is nan"
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert [float(state["step"]) for state in optimizer.state.values()] == steps
    assert all(parameter.grad is None for parameter in objective.parameters())


class InfiniteGradient(Rows):
    """A finite loss whose gradient is not: the square root at 0."""

    def forward(self, batch):
        zero = (self.model.weight * 0.0).sum()
        return LossTerms(zero.sqrt(), batch.num_tokens)


def test_bad_gradient_names_the_parameter():
    objective = InfiniteGradient()
    batch = toy.ToyBatch(torch.ones(1, toy.WIDTH), torch.arange(1))
    optimizer = adamw(objective.parameters())
    result = run_update(objective, [batch], optimizer=optimizer, lr=0.1, clip_norm=1.0)
    assert result.problem == "the gradient of model.weight is not finite"


def test_skipped_update_is_logged_with_its_pairs_and_the_run_goes_on(tmp_path):
    outcome = toy.run(tmp_path, batches=toy.ToyBatches(poison=[6]))
    rows = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    skips = [row for row in rows if "train/skipped" in row]
    assert outcome.reason == "finished"
    assert [(row["update"], row["train/skipped"]) for row in skips] == [(4, 1)]
    pairs = skips[0]["text"]["skipped"].partition("pairs ")[2].split(", ")
    source = toy.ToyBatches()
    drawn = [next(source) for _ in range(8)][6:]
    assert pairs == [str(pair) for batch in drawn for pair in batch.index.tolist()]
    weights = load_tensors(resolve(tmp_path, "last"), "objective")
    assert all(bool(torch.isfinite(tensor).all()) for tensor in weights.values())


def test_many_bad_updates_stop_with_a_diagnosis_and_a_checkpoint(tmp_path):
    options = replace(toy.OPTIONS, max_bad_updates=2)
    with pytest.raises(
        DivergenceError, match=r"3 updates in a row.*max_bad_updates=2.*loss is nan"
    ):
        toy.run(tmp_path, options=options, batches=toy.ToyBatches(poison=range(6, 99)))
    last = resolve(tmp_path, "last")
    assert read_state(last)["loop"]["update"] == 6
    weights = load_tensors(last, "objective")
    assert all(bool(torch.isfinite(tensor).all()) for tensor in weights.values())
    assert toy.run(tmp_path, options=options).reason == "finished"


def test_early_stop_counts_validations_and_stays_stopped(tmp_path):
    losses = iter([3.0, 2.0, 2.0, float("nan"), 2.5])
    options = replace(toy.OPTIONS, max_updates=100, validate_every=2, patience=3)
    outcome = toy.run(tmp_path, options=options, validate=lambda: {"loss": next(losses)})
    assert (outcome.update, outcome.best_loss, outcome.reason) == (10, 2.0, "early_stop")
    assert resolve(tmp_path, "best").name == "update-00000004"
    assert resolve(tmp_path, "last").name == "update-00000010"
    again = toy.run(tmp_path, options=options, validate=lambda: pytest.fail("validated again"))
    assert again == outcome


def test_time_budget_counts_earlier_processes():
    """A clock that moves 10 s at each look; the state carries what was spent."""

    def spent(state):
        now = [0.0]

        def clock():
            now[0] += 10.0
            return now[0]

        saved = []

        def save(update, state, *, is_best):
            saved.append(state)

        objective, optimizer, schedule = toy.build()
        outcome = train(
            objective,
            toy.ToyBatches(),
            optimizer,
            schedule,
            options=replace(toy.OPTIONS, max_updates=10_000, max_minutes=60, save_every=10_000),
            validate=lambda: {"loss": 1.0},
            save=save,
            tracker=Memory(),
            state=state,
            clock=clock,
        )
        return outcome, saved[-1] if saved else None

    outcome, state = spent(None)
    assert outcome.reason == "time" and state["loop"]["seconds"] >= 3600
    again, nothing = spent(state)
    assert (again.reason, again.update, nothing) == ("time", outcome.update, None)


def test_bad_arguments_are_named(tmp_path):
    for wrong in ({"max_updates": 0}, {"clip_norm": -1.0}, {"progress": "dots"}, {"accumulate": 0}):
        with pytest.raises(ValueError, match=rf"{next(iter(wrong))} must"):
            LoopOptions(**{"max_updates": 1, **wrong})
    with pytest.raises(ValueError, match='must return a value "loss"'):
        toy.run(tmp_path, validate=lambda: {"bleu": 1.0})
    objective, optimizer, schedule = toy.build()
    arguments = {
        "options": toy.OPTIONS,
        "validate": lambda: {"loss": 1.0},
        "save": lambda *_, **__: None,
        "tracker": Memory(),
    }
    with pytest.raises(ValueError, match="batches ended at update 1"):
        train(objective, iter([]), optimizer, schedule, **arguments)
    with pytest.raises(CheckpointError, match="lacks batches, schedule"):
        train(objective, toy.ToyBatches(), optimizer, schedule, state={"loop": {}}, **arguments)


def test_sigterm_to_a_real_process_saves_and_asks_for_resume(tmp_path):
    """R2."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(
        [sys.executable, toy.__file__, "run_until_stopped", str(tmp_path)],
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
    ) as process:
        assert process.stdout.readline() == "going\n"
        process.send_signal(signal.SIGTERM)
        reason, update = process.stdout.readline().split()
        assert process.wait(timeout=60) == 75
    assert reason == "interrupted"
    assert read_state(resolve(tmp_path, "last"))["loop"]["update"] == int(update) > 0


def test_second_interrupt_raises_and_handlers_come_back():
    former = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    with StopSignal() as stop:
        assert not stop.requested
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGINT)
        assert stop.requested
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == former


def test_progress_prints_lines_where_there_is_no_terminal():
    seconds = [0.0]
    stream = io.StringIO()
    progress = Progress("bar", 100, stream=stream, clock=lambda: seconds[0])
    for update in range(1, 5):
        seconds[0] += 10.0
        progress.advance(update, 2.0, 50)
    progress.validated(4, 1.5)
    progress.close()
    assert stream.getvalue().splitlines() == [
        "update 3/100: loss 2.0000, 5 tokens/s, 0.10 updates/s, 0:16:10 left",
        "update 4/100: loss 2.0000, valid 1.5000, 5 tokens/s, 0.10 updates/s, 0:16:00 left",
    ]


def test_progress_bar_shows_the_figures():
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    stream = Terminal()
    progress = Progress("bar", 10, start=4, stream=stream)
    progress.advance(5, 2.0, 50)
    progress.validated(5, 1.25)
    progress.note("a sentence")
    progress.close()
    assert "5/10" in stream.getvalue() and "valid 1.2500" in stream.getvalue()
    assert "a sentence\n" in stream.getvalue()
