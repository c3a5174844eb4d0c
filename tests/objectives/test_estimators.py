"""Every bound and every estimator of its gradient against the list of all draws: no sampling.

With M samples and N vocabularies there are N^M draws; their means weighted by q are exact.
"""

import math

import pytest
import torch
from enumeration import CONTENT, NUM_FIXED, WORDS, Instance
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from dvs2s.objectives.baselines import GUESSED, KINDS, Baseline
from dvs2s.objectives.closed_form import log_weights, widened
from dvs2s.objectives.lower_bound import Estimate, estimate
from dvs2s.objectives.multi_sample import estimate_multi_sample
from dvs2s.ops import monte_carlo_cross_entropy, sample_gains, weighted_cross_entropy

FORMS = {"monte_carlo": estimate, "multi_sample": estimate_multi_sample}
ESTIMATORS = (*KINDS, "local_expectation")


def likely(instance: Instance) -> tuple[Tensor, Tensor]:
    """Every vocabulary of q: membership (N, V) and log q (N,)."""
    membership, log_prior = instance.vocabularies()
    holds = (membership | ~instance.gold).all(1)
    return membership[holds], log_prior[holds] - log_prior[holds].logsumexp(0)


def places(count: int, samples: int) -> Tensor:
    """Every draw of M out of N, (N^M, M) int64."""
    return torch.cartesian_prod(*[torch.arange(count)] * samples).view(-1, samples)


def draws(instance: Instance, samples: int) -> tuple[Tensor, Tensor]:
    """Every draw of M vocabularies from q: membership (N^M, M, V), and log q of the draws."""
    membership, log_q = likely(instance)
    drawn = places(len(log_q), samples)
    return membership[drawn], log_q[drawn].sum(1)


def bound(instance: Instance, kind: str, samples: int) -> Tensor:
    """The second term of a bound, exact and differentiable."""
    if kind == "closed_form":
        return closed_form(instance)
    if kind == "monte_carlo":
        return instance.bound()[1]
    membership, log_q = likely(instance)
    drawn = places(len(log_q), samples)
    rewards, log_q = instance.log_likelihoods(membership)[drawn], log_q[drawn].sum(1)
    return (log_q.exp() * (rewards.logsumexp(1) - math.log(samples))).sum()


def closed_form(instance: Instance) -> Tensor:
    """(B2)'s second term, word by word as docs/model.md writes it."""
    beta = torch.cat([torch.ones(1, NUM_FIXED), instance.logits.sigmoid()], dim=1)[0]
    beta = torch.where(instance.gold[0], torch.ones(()).double(), beta)
    logits = instance.hidden[0] @ instance.weight.T + instance.bias
    normaliser = (beta * logits.exp()).sum(1).log()
    gold = logits.gather(1, instance.targets[0, :, None])[:, 0]
    return (gold - normaliser)[instance.mask[0]].sum()


def estimates(
    instance: Instance, form: str, estimator: str, logits: Tensor, membership: Tensor
) -> Estimate:
    """One estimate a draw; ``logits`` (N, C) may be a leaf, to see each draw's gradient."""
    count = len(membership)
    local = estimator == "local_expectation"
    baseline = Baseline("none" if local else estimator).double().eval()
    baseline.mean.fill_(-1.7)  # an arbitrary past: the mean gradient must not depend on it
    baseline.weight.fill_(1.0)
    arguments = (
        instance.hidden.expand(count, -1, -1),
        instance.weight,
        instance.bias,
        membership,
        instance.targets.expand(count, -1),
    )
    mask = instance.mask.expand(count, -1)
    losses = monte_carlo_cross_entropy(*arguments)
    gains = sample_gains(*arguments, mask, losses) if local else None
    if gains is not None and form == "monte_carlo":
        gains = gains.mean(1)
    guess = closed_form(instance).detach() if estimator == "closed_form" else torch.tensor(-3.3)
    return FORMS[form](
        losses,
        mask,
        logits=logits,
        membership=membership,
        gold=instance.gold.expand(count, -1),
        baseline=baseline,
        gains=gains,
        guess=guess.double().expand(count) if estimator in GUESSED else None,
    )


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_the_bounds_stand_in_order(seed: int) -> None:
    instance = Instance(seed)
    with torch.no_grad():
        inside = instance.bound()[0]
        values = [bound(instance, "closed_form", 0), bound(instance, "monte_carlo", 1)]
        values += [bound(instance, "multi_sample", samples) for samples in (2, 3)]
        values.append(instance.exact() - inside)
    for lower, higher in zip(values, values[1:], strict=False):
        assert lower <= higher + 1e-12


def test_one_sample_of_many_is_the_plain_bound() -> None:
    for seed in range(3):
        instance = Instance(seed)
        torch.testing.assert_close(
            bound(instance, "multi_sample", 1), bound(instance, "monte_carlo", 1)
        )


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_the_mean_gradient_is_exact(estimator: str, form: str, seed: int) -> None:
    instance, samples = Instance(seed), 2
    membership, log_q = draws(instance, samples)
    made = estimates(instance, form, estimator, instance.logits.expand(len(log_q), -1), membership)
    weights = log_q.exp().detach()
    leaves = [instance.weight, instance.logits]
    actual = torch.autograd.grad((weights * (made.value + made.surrogate)).sum(), leaves)
    value = bound(instance, form, samples)
    torch.testing.assert_close((weights * made.value).sum(), value)
    for got, wanted in zip(actual, torch.autograd.grad(value, leaves), strict=True):
        torch.testing.assert_close(got, wanted, rtol=1e-6, atol=1e-9)


def test_a_biased_estimator_is_seen() -> None:
    """The mean of all samples as their baseline, own reward included, is off by far."""
    instance = Instance(1)
    membership, log_q = draws(instance, 2)
    logits = instance.logits.expand(len(log_q), -1)
    made = estimates(instance, "monte_carlo", "leave_one_out", logits, membership)
    half = 0.5 * made.surrogate  # what R - mean(R) comes to with two samples
    total = (log_q.exp().detach() * (made.value + half)).sum()
    (got,) = torch.autograd.grad(total, instance.logits)
    (wanted,) = torch.autograd.grad(bound(instance, "monte_carlo", 1), instance.logits)
    assert (got - wanted).abs().max() > 0.01


def variance(instance: Instance, form: str, estimator: str) -> float:
    """The exact variance of β's gradient, summed over the words."""
    membership, log_q = draws(instance, 2)
    logits = instance.logits.detach().expand(len(log_q), -1).clone().requires_grad_()
    made = estimates(instance, form, estimator, logits, membership)
    (each,) = torch.autograd.grad(made.surrogate.sum(), logits)  # (N, C)
    weights = log_q.exp().detach()[:, None]
    mean = (weights * each).sum(0)
    return float((weights * (each - mean).square()).sum())


@pytest.mark.parametrize("form", FORMS)
def test_who_is_noisier(form: str) -> None:
    totals = dict.fromkeys(ESTIMATORS, 0.0)
    for seed in range(8):
        instance = Instance(seed)
        for estimator in ESTIMATORS:
            totals[estimator] += variance(instance, form, estimator)
    assert totals["leave_one_out"] < 0.5 * totals["running"]
    if form == "monte_carlo":  # of M samples the others' luck is in the signal, and not in (B2)
        assert totals["closed_form"] < 0.7 * totals["leave_one_out"]
    assert totals["local_expectation"] < 0.3 * min(totals["closed_form"], totals["leave_one_out"])


@pytest.mark.parametrize("chunk", [0, 4])
def test_gradcheck_of_the_closed_form(chunk: int) -> None:
    instance = Instance(3)
    leaves = [instance.hidden, instance.weight.detach(), instance.bias, instance.logits.detach()]

    def value(hidden: Tensor, weight: Tensor, bias: Tensor, logits: Tensor) -> Tensor:
        weights = log_weights(widened(logits, 0.1), instance.gold)
        losses = weighted_cross_entropy(
            hidden, weight, bias, weights, instance.targets, chunk=chunk
        )
        return (losses * instance.mask[:, None]).sum()

    assert torch.autograd.gradcheck(value, [leaf.clone().requires_grad_() for leaf in leaves])


def test_the_closed_form_is_what_the_page_says() -> None:
    for seed in range(5):
        instance = Instance(seed)
        losses = weighted_cross_entropy(
            instance.hidden,
            instance.weight,
            instance.bias,
            log_weights(instance.logits, instance.gold),
            instance.targets,
        )
        torch.testing.assert_close(-(losses[:, 0] * instance.mask).sum(), closed_form(instance))


@given(rate=st.floats(0, 0.99), logit=st.floats(-60, 30), other=st.sampled_from([-80.0, 0.0, 12.0]))
def test_widened_is_a_chance_to_come_in_anyway(rate: float, logit: float, other: float) -> None:
    logits = torch.tensor([[logit, other]], dtype=torch.float64)
    beta = logits.sigmoid()
    actual = widened(logits, rate).sigmoid()
    torch.testing.assert_close(actual, beta + (1 - beta) * rate)


@pytest.mark.parametrize("kind", ["closed_form", "monte_carlo", "multi_sample"])
def test_words_by_chance_keep_a_bound(kind: str) -> None:
    """More competitors make no response likelier: every widened bound is below the plain one."""
    for seed in range(4):
        instance = Instance(seed)
        with torch.no_grad():
            values = []
            for rate in (0.0, 0.1, 0.5):
                instance.logits = widened(Instance(seed).logits, rate)
                values.append(float(bound(instance, kind, 2)))
        assert values == sorted(values, reverse=True)


def test_wrong_rates_are_named() -> None:
    with pytest.raises(ValueError, match=r"rate must be at least 0 and below 1, got 1"):
        widened(torch.zeros(1, CONTENT), 1.0)


def test_weights_of_the_closed_form_by_hand() -> None:
    gold = torch.zeros(1, WORDS, dtype=torch.bool)
    gold[0, NUM_FIXED + 1] = True
    weights = log_weights(torch.zeros(1, CONTENT), gold).exp()[0, 0]
    expected = torch.full((WORDS,), 0.5)
    expected[:NUM_FIXED] = 1
    expected[NUM_FIXED + 1] = 1
    torch.testing.assert_close(weights, expected)
