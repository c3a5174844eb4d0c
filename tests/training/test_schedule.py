"""Learning-rate rules against tables computed by hand."""

import math

import pytest
import torch
from torch import nn

from dvs2s.errors import CheckpointError
from dvs2s.training.schedule import HalveOnPlateau, WarmUp, adadelta, adamw


def test_halving_follows_the_table():
    schedule = HalveOnPlateau(1.0, patience=2, min_lr=0.2)
    # Two bests; two waits, halved; an equal loss is a wait; a best; NaN and infinity are
    # waits, halved; two waits, halved down to the floor; a best.
    losses = [5.0, 4.0, 4.5, 4.1, 4.0, 3.0, math.nan, math.inf, 9.0, 9.0, 2.0]
    expected = [1.0, 1.0, 1.0, 0.5, 0.5, 0.5, 0.5, 0.25, 0.25, 0.2, 0.2]
    actual = []
    for number, loss in enumerate(losses, start=1):
        schedule.observe(loss)
        actual.append(schedule.lr(number))
    assert actual == expected


def test_halving_resumes_in_the_middle_of_waiting():
    first, second = HalveOnPlateau(1.0, patience=2), HalveOnPlateau(1.0, patience=2)
    for loss in (3.0, 4.0):
        first.observe(loss)
    second.load_state_dict(first.state_dict())
    second.observe(3.5)
    assert (first.lr(1), second.lr(1)) == (1.0, 0.5)
    with pytest.raises(CheckpointError, match="HalveOnPlateau needs"):
        second.load_state_dict({})
    with pytest.raises(CheckpointError, match="WarmUp needs"):
        WarmUp(1.0, warmup=1).load_state_dict(first.state_dict())


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"decay": "constant"}, {1: 0.2, 2: 0.4, 4: 0.8, 5: 0.8, 1000: 0.8}),
        ({"decay": "inverse_sqrt"}, {1: 0.2, 4: 0.8, 16: 0.4, 64: 0.2}),
        ({"decay": "inverse_sqrt", "min_lr": 0.3}, {16: 0.4, 64: 0.3}),
        ({"decay": "cosine", "total": 12}, {2: 0.4, 4: 0.8, 8: 0.4, 12: 0.0, 99: 0.0}),
        ({"decay": "cosine", "total": 12, "min_lr": 0.2}, {4: 0.8, 8: 0.5, 12: 0.2, 99: 0.2}),
    ],
)
def test_warm_up_follows_the_table(options, expected):
    schedule = WarmUp(0.8, warmup=4, **options)
    actual = {update: schedule.lr(update) for update in expected}
    assert actual == pytest.approx(expected, abs=1e-12)


def test_no_warm_up_starts_at_the_top():
    assert WarmUp(0.8, warmup=0).lr(1) == 0.8
    assert WarmUp(0.8, warmup=0, decay="inverse_sqrt").lr(4) == 0.4


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: HalveOnPlateau(0.0), "lr must be a number above 0, got 0.0"),
        (lambda: HalveOnPlateau(1.0, patience=0), "patience must be at least 1, got 0"),
        (lambda: HalveOnPlateau(1.0, min_lr=2.0), "min_lr must lie between 0 and lr=1.0"),
        (lambda: WarmUp(1.0, warmup=-1), "warmup must be 0 or more"),
        (lambda: WarmUp(1.0, warmup=1, decay="linear"), "decay must be one of constant"),
        (lambda: WarmUp(1.0, warmup=5, decay="cosine"), "total must be more than warmup=5"),
        (lambda: WarmUp(1.0, warmup=5).lr(0), "update must be at least 1, got 0"),
        (lambda: adadelta([]), "parameters holds nothing that needs a gradient"),
        (lambda: adadelta(nn.Linear(1, 1).parameters(), rho=1.0), "rho must lie between 0 and 1"),
        (lambda: adamw(nn.Linear(1, 1).parameters(), betas=(1.0, 0.9)), "betas must each"),
    ],
)
def test_wrong_values_are_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_adadelta_takes_the_step_of_the_paper():
    weight = nn.Parameter(torch.tensor([1.0], dtype=torch.float64))
    optimizer = adadelta([weight])
    square, delta, expected = 0.0, 0.0, 1.0
    for gradient in (3.0, -1.0, 2.0):
        weight.grad = torch.tensor([gradient], dtype=torch.float64)
        optimizer.step()
        square = 0.95 * square + 0.05 * gradient**2
        step = math.sqrt(delta + 1e-6) / math.sqrt(square + 1e-6) * gradient
        delta = 0.95 * delta + 0.05 * step**2
        expected -= step
    assert weight.item() == pytest.approx(expected, rel=1e-12)


def test_adamw_decays_matrices_only():
    layer = nn.Linear(2, 2)
    optimizer = adamw(layer.parameters(), lr=0.1, weight_decay=0.5)
    weight, bias = layer.weight.detach().clone(), layer.bias.detach().clone()
    for parameter in layer.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    torch.testing.assert_close(layer.weight.detach(), weight * (1 - 0.1 * 0.5))
    assert torch.equal(layer.bias.detach(), bias)
