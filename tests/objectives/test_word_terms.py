"""What moves β: log loss, negatives, price and budget, and where β starts."""

import pytest
import torch
import torch.nn.functional as F

from dvs2s.objectives.baselines import Baseline
from dvs2s.objectives.prior import price_for_budget, prior_beta
from dvs2s.objectives.row_price import RowPrice
from dvs2s.objectives.word_loss import Negatives, WordLoss


def logits_and_gold(batch: int = 6, content: int = 11) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(batch, content, generator=generator) * 2
    return logits, torch.rand(batch, content, generator=generator) < 0.3


def test_full_negatives_are_binary_cross_entropy() -> None:
    logits, gold = logits_and_gold()
    positive, negative = WordLoss(Negatives("full"), torch.ones(11))(logits, gold)
    expected = F.binary_cross_entropy_with_logits(logits, gold.float(), reduction="none").sum(1)
    torch.testing.assert_close(positive + negative, expected)


def test_sampled_negatives_have_the_expected_value() -> None:
    logits, gold = logits_and_gold(batch=1)
    counts = torch.tensor([1, 2, 4, 8, 16, 32, 64, 3, 5, 7, 9])
    rule = Negatives("sampled", weight=0.5, number=40, exponent=0.7)
    torch.manual_seed(0)
    loss = WordLoss(rule, counts)
    values = torch.stack([loss(logits, gold)[1] for _ in range(4000)])
    rates = counts.double() ** 0.7
    rates /= rates.sum()
    expected = 0.5 * 40 * (rates * F.softplus(logits[0].double()) * ~gold[0]).sum()
    error = values.std() / len(values) ** 0.5
    assert abs(values.mean() - expected) < 4 * error


@pytest.mark.parametrize("form", ["logistic", "linear"])
@pytest.mark.parametrize(
    "rule",
    [Negatives("none"), Negatives("full", weight=0.05), Negatives("sampled", number=30)],
    ids=["none", "full", "sampled"],
)
def test_loss_is_flat_at_the_prior(rule: Negatives, form: str) -> None:
    """The gradient of the expected word loss of a blind predictor vanishes at the prior."""
    shares = torch.tensor([0.002, 0.01, 0.04, 0.2], dtype=torch.float64)
    price = 0.05
    beta = prior_beta(shares, rule, price, form)
    logits = beta.logit().requires_grad_()
    weights = torch.full_like(shares, rule.weight)
    if rule.kind == "none":
        weights = torch.zeros_like(shares)
    if rule.kind == "sampled":
        weights = rule.weight * rule.number * shares / shares.sum()
    charged = F.softplus(logits) if form == "logistic" else logits.sigmoid()
    absent = 1 - shares
    expected_loss = shares * F.softplus(-logits) + absent * (
        weights * F.softplus(logits) + price * charged
    )
    (gradient,) = torch.autograd.grad(expected_loss.sum(), logits)
    inner = beta < 0.98  # clamped ones are not flat on purpose
    assert inner.any()
    torch.testing.assert_close(
        gradient[inner], torch.zeros_like(gradient[inner]), atol=1e-9, rtol=0
    )


@pytest.mark.parametrize("form", ["logistic", "linear"])
def test_price_for_budget_meets_it(form: str) -> None:
    shares = torch.rand(3000, generator=torch.Generator().manual_seed(1)) ** 4 * 0.3 + 1e-5
    price = price_for_budget(shares, Negatives("none"), 400, form)
    assert abs(float(prior_beta(shares, Negatives("none"), price, form).sum()) - 400) < 1


def test_budget_moves_the_price_until_the_size_fits() -> None:
    """A blind predictor trained under a budget ends with E|T| there, from a price far off."""
    torch.manual_seed(0)
    shares = torch.rand(400) ** 3 * 0.5
    price = RowPrice(price=1.0, budget=60, rate=0.05)
    logits = torch.zeros(400, requires_grad=True)
    optimizer = torch.optim.Adam([logits], lr=0.05)
    for _ in range(800):
        gold = torch.rand(32, 400) < shares
        rows = logits.expand(32, -1)
        loss = (F.softplus(-rows) * gold).sum(1) + price(rows, gold)
        optimizer.zero_grad()
        loss.mean().backward()
        optimizer.step()
        price.observe(logits.detach().sigmoid().sum())
    assert abs(float(logits.detach().sigmoid().sum()) - 60) < 6


def test_price_rests_in_validation() -> None:
    price = RowPrice(price=0.1, budget=10).eval()
    price.observe(torch.tensor(500.0))
    assert float(price.price) == pytest.approx(0.1)


def test_leave_one_out_and_running_baselines_by_hand() -> None:
    rewards = torch.tensor([[-4.0, -6.0, -8.0], [-1.0, -1.0, -4.0]])
    lengths = torch.tensor([4, 2])
    actual = Baseline("leave_one_out")(rewards, lengths)
    torch.testing.assert_close(actual, torch.tensor([[3.0, 0, -3.0], [1.5, 1.5, -3.0]]))
    running = Baseline("running", momentum=0.5)
    torch.testing.assert_close(running(rewards, lengths), rewards)  # nothing seen yet
    mean = (-6.0 - 2.0) / 6  # a reward a word
    expected = rewards - mean * lengths[:, None]
    torch.testing.assert_close(running(rewards, lengths), expected)
    running.eval()
    running(rewards * 9, lengths)
    assert float(running.value()) == pytest.approx(mean)


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: Negatives("some"), "negatives.kind must be none, full or sampled"),
        (lambda: Negatives("full", weight=-1), "negatives.weight must be at least 0, got -1"),
        (lambda: RowPrice(price=-1), "price must be at least 0, got -1"),
        (lambda: RowPrice(form="cubic"), "form must be logistic or linear, got 'cubic'"),
        (
            lambda: Baseline("best"),
            "baseline must be one of none, running, leave_one_out",
        ),
        (lambda: Baseline("leave_one_out")(torch.ones(2, 1), torch.ones(2)), "num_samples >= 2"),
        (lambda: Baseline("learned")(torch.ones(2, 1), torch.ones(2)), "needs a guess for each"),
    ],
)
def test_bad_arguments_are_named(make, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence.replace("(", r"\(")):
        make()
