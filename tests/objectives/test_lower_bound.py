"""The bound (B1) and its estimators against enumeration of every vocabulary."""

import math

import pytest
import torch
from enumeration import NUM_FIXED, Instance
from torch import Tensor

from dvs2s.objectives import lower_bound
from dvs2s.objectives.baselines import Baseline
from dvs2s.ops.inclusion import inclusion_gains
from dvs2s.ops.monte_carlo import monte_carlo_cross_entropy


def monte_carlo(instance: Instance, kind: str, *, draws: int, samples: int) -> lower_bound.Estimate:
    """``draws`` independent estimates at once, as a batch of the same pair."""
    local = kind == "local_expectation"
    baseline = Baseline("none" if local else kind, momentum=0.9).double()
    baseline.mean.fill_(-1.7)  # an arbitrary past: the mean gradient must not depend on it
    baseline.weight.fill_(1.0)
    logits, gold = instance.logits.expand(draws, -1), instance.gold.expand(draws, -1)
    membership = lower_bound.sample_vocabularies(logits, gold, samples)
    arguments = (
        instance.hidden.expand(draws, -1, -1),
        instance.weight,
        instance.bias,
        membership,
        instance.targets.expand(draws, -1),
    )
    losses = monte_carlo_cross_entropy(*arguments)
    mask = instance.mask.expand(draws, -1)
    return lower_bound.estimate(
        losses,
        mask,
        logits=logits,
        membership=membership,
        gold=gold,
        baseline=baseline.eval(),
        gains=inclusion_gains(*arguments, mask, losses) if local else None,
    )


def gradients(instance: Instance, kind: str, *, repeats: int = 400) -> list[tuple[Tensor, Tensor]]:
    """(mean, standard error) of the value, and of the gradients in weight and logits of β."""
    rows: list[list[Tensor]] = [[], [], []]
    for _ in range(repeats):
        result = monte_carlo(instance, kind, draws=8, samples=4)
        total = result.value.mean() + result.surrogate.mean()
        grads = torch.autograd.grad(total, [instance.weight, instance.logits])
        rows[0].append(result.value.mean().detach())
        rows[1].append(grads[0])
        rows[2].append(grads[1])
    stacked = [torch.stack(values) for values in rows]
    return [(s.mean(0), s.std(0) / math.sqrt(repeats)) for s in stacked]


def disagreement(instance: Instance, kind: str) -> float:
    """The largest distance from enumeration over value and gradients, in standard errors."""
    _, expectation = instance.bound()
    exact = torch.autograd.grad(expectation, [instance.weight, instance.logits])
    wanted = [expectation.detach(), *exact]
    worst = 0.0
    for (mean, error), expected in zip(gradients(instance, kind), wanted, strict=True):
        z = (mean - expected).abs() / (error + 1e-9)
        worst = max(worst, float(z.max()))
    return worst


# About 60 numbers are compared: 4.5 standard errors is a chance of 1 in 2,500 for an honest
# estimator, and the seeds are fixed; a wrong one is tens of standard errors away.
LIMIT = 4.5


@pytest.mark.parametrize("seed", range(20))
def test_exact_is_at_least_the_bound(seed: int) -> None:
    instance = Instance(seed)
    inside, expectation = instance.bound()
    beta = instance.logits[0].sigmoid()
    content = instance.gold[0, NUM_FIXED:]
    assert torch.allclose(inside, beta[content].log().sum())  # the bound's first term
    assert instance.exact() >= inside + expectation - 1e-12


@pytest.mark.parametrize("kind", ["none", "running", "leave_one_out", "local_expectation"])
@pytest.mark.parametrize("seed", [1, 2])
def test_mean_gradient_is_the_enumerated_one(kind: str, seed: int) -> None:
    torch.manual_seed(100 + seed)
    assert disagreement(Instance(seed), kind) < LIMIT


def test_baselines_cut_the_variance() -> None:
    errors = {}
    for kind in ("none", "leave_one_out", "local_expectation"):
        torch.manual_seed(5)
        errors[kind] = float(gradients(Instance(1), kind)[2][1].mean())
    assert errors["leave_one_out"] < 0.7 * errors["none"]
    assert errors["local_expectation"] < 0.3 * errors["leave_one_out"]


class TestTheTestCanFail:
    """Each mistake that the issue names moves the mean by far more than the limit."""

    def test_gold_words_not_kept_in(self, monkeypatch: pytest.MonkeyPatch) -> None:
        honest = lower_bound.sample_vocabularies

        def forgetful(logits: Tensor, gold: Tensor, num_samples: int) -> Tensor:
            nothing = torch.zeros_like(gold)
            return honest(logits, nothing, num_samples)

        monkeypatch.setattr(lower_bound, "sample_vocabularies", forgetful)
        torch.manual_seed(7)
        assert disagreement(Instance(1), "leave_one_out") > 2 * LIMIT

    def test_function_words_sampled(self, monkeypatch: pytest.MonkeyPatch) -> None:
        honest = lower_bound.sample_vocabularies

        def careless(logits: Tensor, gold: Tensor, num_samples: int) -> Tensor:
            membership = honest(logits, gold, num_samples)
            membership[:, :, :NUM_FIXED] &= torch.rand(membership[:, :, :NUM_FIXED].shape) < 0.5
            return membership | gold[:, None]

        monkeypatch.setattr(lower_bound, "sample_vocabularies", careless)
        torch.manual_seed(7)
        assert disagreement(Instance(1), "leave_one_out") > 2 * LIMIT

    def test_baseline_leaks(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def leaky(self: Baseline, rewards: Tensor, *_: Tensor) -> Tensor:
            return rewards - rewards.mean(1, keepdim=True)  # its own reward is in its baseline

        monkeypatch.setattr(Baseline, "forward", leaky)
        torch.manual_seed(7)
        assert disagreement(Instance(1), "leave_one_out") > 2 * LIMIT

    def test_baseline_is_differentiated(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def attached(self: Baseline, rewards: Tensor, *_: Tensor) -> Tensor:
            return rewards  # not detached: the reward's own gradient is counted again

        monkeypatch.setattr(Baseline, "forward", attached)
        torch.manual_seed(7)
        assert disagreement(Instance(1), "none") > 2 * LIMIT
