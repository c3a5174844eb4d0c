"""The gradient that Joint minimises, against enumeration of every vocabulary of a tiny model."""

import itertools
import math

import pytest
import torch
from torch import Tensor

from dvs2s.data.batch import Batch, make_batch
from dvs2s.model import Dvs2sModel, ModelSizes
from dvs2s.objectives.baselines import Baseline
from dvs2s.objectives.bounds import BoundOptions
from dvs2s.objectives.cross_entropy import full_cross_entropy
from dvs2s.objectives.dvs2s import Joint, JointOptions
from dvs2s.objectives.gold import gold_membership
from dvs2s.objectives.reward_predictor import RewardPredictor, reward_ceilings
from dvs2s.objectives.row_price import RowPrice
from dvs2s.objectives.word_loss import Negatives, WordLoss

FIXED, CONTENT = 5, 5
WORDS = FIXED + CONTENT
PRICE, NEGATIVES = 0.3, 0.2


def instance() -> tuple[Dvs2sModel, Batch]:
    torch.manual_seed(0)
    model = Dvs2sModel(ModelSizes(WORDS, FIXED, 4, 5, 3, 4))
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    return model.double().train(), make_batch([[6, 7]], [[5, 8, 5]], [0])


def enumerated(model: Dvs2sModel, batch: Batch, full_weight: float, extra_rate: float) -> Tensor:
    """-(B1) with expectation over all 2^|free| vocabularies, negatives, price and full softmax."""
    encoded = model.encode(batch.messages, batch.message_lengths)
    logits = model.predict_words(encoded)[0]
    hidden = model.unroll(encoded, batch.responses)
    scores = model.output.projection(hidden)[0]  # (T, V)
    gold = gold_membership(batch.responses, batch.response_mask, WORDS)[0]
    free = [i for i in range(CONTENT) if not gold[FIXED + i]]
    drawn = (logits.sigmoid() * (1 - extra_rate) + extra_rate).logit()  # words by chance, too
    expectation = logits.new_zeros(())
    for choice in itertools.product([False, True], repeat=len(free)):
        member = gold.clone()
        member[:FIXED] = True
        log_q = logits.new_zeros(())
        for i, chosen in zip(free, choice, strict=True):
            member[FIXED + i] = chosen
            log_q = log_q + torch.nn.functional.logsigmoid(drawn[i] if chosen else -drawn[i])
        log_p = scores.masked_fill(~member, -torch.inf).log_softmax(-1)
        expectation = expectation + log_q.exp() * log_p.gather(1, batch.responses[0][:, None]).sum()
    content = gold[FIXED:]
    positive = torch.nn.functional.softplus(-logits[content]).sum()
    absent = torch.nn.functional.softplus(logits[~content]).sum()
    full = full_cross_entropy(model, hidden, batch).sum()
    total = -expectation + positive + (PRICE + NEGATIVES) * absent + full_weight * full
    return total / batch.num_tokens


@pytest.mark.parametrize(
    ("estimator", "full_weight", "extra_rate"),
    [
        ("leave_one_out", 0.0, 0.0),
        ("leave_one_out", 0.5, 0.3),
        ("running", 0.5, 0.0),
        ("closed_form", 0.5, 0.3),
        ("local_expectation", 0.0, 0.0),
        ("local_expectation", 0.5, 0.3),
    ],
)
def test_mean_gradient_is_the_enumerated_one(
    estimator: str, full_weight: float, extra_rate: float
) -> None:
    local = estimator == "local_expectation"
    model, batch = instance()
    objective = Joint(
        model,
        word_loss=WordLoss(Negatives("full", weight=NEGATIVES), torch.ones(CONTENT)),
        price=RowPrice(price=PRICE),
        baseline=Baseline("none" if local else estimator),
        options=JointOptions(
            pretrain_updates=0,
            bound=BoundOptions(
                num_samples=4,
                full_weight=full_weight,
                extra_rate=extra_rate,
                estimator=estimator if local else "score_function",
            ),
        ),
    ).double()
    parameters = list(model.parameters())
    expected = torch.autograd.grad(enumerated(model, batch, full_weight, extra_rate), parameters)
    repeats = 500
    together = Batch(
        *(
            tensor.expand(8, *tensor.shape[1:]).contiguous()
            for tensor in (
                batch.messages,
                batch.message_lengths,
                batch.responses,
                batch.response_lengths,
                batch.index,
            )
        )
    )
    draws: list[list[Tensor]] = []
    torch.manual_seed(1)
    for _ in range(repeats):
        draws.append(list(torch.autograd.grad(objective(together).total, parameters)))
    worst = 0.0
    for place, wanted in enumerate(expected):
        stacked = torch.stack([draw[place] for draw in draws])
        error = stacked.std(0) / math.sqrt(repeats)
        worst = max(worst, float(((stacked.mean(0) - wanted).abs() / (error + 1e-9)).max()))
    # about 700 numbers: an honest estimator passes 4.8 standard errors once in a thousand runs
    assert worst < 4.8


def make_joint(model: Dvs2sModel, *, baseline: str = "none", full_share: float = 0.0, **bound):
    return Joint(
        model,
        word_loss=WordLoss(Negatives("full", weight=NEGATIVES), torch.ones(CONTENT)),
        price=RowPrice(price=PRICE),
        baseline=Baseline(baseline),
        options=JointOptions(
            pretrain_updates=0, bound=BoundOptions(**bound), full_share=full_share
        ),
    ).double()


@pytest.mark.parametrize("full_weight", [0.0, 0.5])
def test_the_closed_form_is_no_estimate(full_weight: float) -> None:
    """The objective and its gradient are those of (B2) written out, in one call."""
    model, batch = instance()
    rate = 0.3
    objective = make_joint(model, kind="closed_form", full_weight=full_weight, extra_rate=rate)
    encoded = model.encode(batch.messages, batch.message_lengths)
    logits = model.predict_words(encoded)[0]
    hidden = model.unroll(encoded, batch.responses)
    gold = gold_membership(batch.responses, batch.response_mask, WORDS)[0]
    beta = torch.cat([torch.ones(FIXED), logits.sigmoid() * (1 - rate) + rate])
    beta = torch.where(gold, torch.ones(()).double(), beta)
    scores = model.output.projection(hidden)[0]
    nll = (beta * scores.exp()).sum(1).log() - scores.gather(1, batch.responses[0][:, None])[:, 0]
    content = gold[FIXED:]
    words = torch.nn.functional.softplus(-logits[content]).sum()
    words = words + (PRICE + NEGATIVES) * torch.nn.functional.softplus(logits[~content]).sum()
    full = full_cross_entropy(model, hidden, batch).sum()
    expected = (nll.sum() + words + full_weight * full) / batch.num_tokens
    actual = objective(batch).total
    torch.testing.assert_close(actual, expected)
    parameters = list(model.parameters())
    for got, wanted in zip(
        torch.autograd.grad(actual, parameters, retain_graph=True),
        torch.autograd.grad(expected, parameters),
        strict=True,
    ):
        torch.testing.assert_close(got, wanted)


@pytest.mark.parametrize("kind", ["monte_carlo", "multi_sample"])
@pytest.mark.parametrize("baseline", ["learned", "closed_form"])
def test_a_guess_moves_no_parameter_of_the_model(baseline: str, kind: str) -> None:
    """A learned baseline trains itself only, and its error falls; the value is what it was."""
    model, batch = instance()
    model.eval()
    objective = make_joint(model, baseline=baseline, kind=kind, num_samples=3)
    plain = make_joint(model, baseline="none", kind=kind, num_samples=3)
    torch.manual_seed(3)
    with_guess = objective(batch)
    torch.manual_seed(3)
    torch.testing.assert_close(with_guess.parts["bound"], plain(batch).parts["bound"])
    if baseline != "learned":
        return
    own = [p for name, p in objective.named_parameters() if name.startswith("predictor.")]
    assert own
    optimizer = torch.optim.Adam(own, lr=0.02)
    before = float(with_guess.parts["baseline_error"])
    for _ in range(150):
        terms = objective(batch)
        optimizer.zero_grad()
        terms.total.backward()
        optimizer.step()
    assert float(objective(batch).parts["baseline_error"]) < 0.2 * before


def test_the_network_of_a_learned_baseline_looks_and_does_not_touch() -> None:
    final = torch.randn(2, 6, requires_grad=True)
    hidden = torch.randn(2, 4, 3, requires_grad=True)
    scores = torch.randn(2, 4, requires_grad=True)
    mask = torch.tensor([[True] * 4, [True, True, False, False]])
    predictor = RewardPredictor(3)
    guess = predictor(final, hidden, scores, mask)
    grads = torch.autograd.grad(guess.sum(), [final, hidden, scores], allow_unused=True)
    assert all(grad is None for grad in grads)
    padded = predictor(final, hidden * mask[..., None], scores * mask, mask)
    torch.testing.assert_close(guess, padded)


def test_no_vocabulary_beats_the_smallest() -> None:
    model, batch = instance()
    model.eval()
    with torch.no_grad():
        hidden = model.unroll(model.encode(batch.messages, batch.message_lengths), batch.responses)
        rows = model.output.projection
        actual = reward_ceilings(hidden, rows.weight, rows.bias, batch.responses, num_fixed=FIXED)
        for place, word in enumerate(batch.responses[0].tolist()):
            least = sorted({*range(FIXED), word})
            scores = rows(hidden)[0, place, least].log_softmax(-1)
            torch.testing.assert_close(actual[0, place], scores[least.index(word)])


def test_a_share_of_the_updates_is_full() -> None:
    model, batch = instance()
    objective = make_joint(model, kind="closed_form", full_share=0.25)
    full = []
    for update in range(1, 41):
        objective.begin_update(update)
        assert objective.stage == 1
        full.append(objective.full)
    assert sum(full) == 10 and not any(a and b for a, b in zip(full, full[1:], strict=False))
    place = 1 + full.index(True)
    objective.begin_update(place)
    encoded = model.encode(batch.messages, batch.message_lengths)
    nats = full_cross_entropy(model, model.unroll(encoded, batch.responses), batch).sum()
    torch.testing.assert_close(objective(batch).parts["nll"], nats / batch.num_tokens)
    objective.eval()
    with torch.no_grad():
        assert float(objective(batch).parts["nll"]) < float(nats / batch.num_tokens)


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: BoundOptions(kind="best"), "kind must be one of monte_carlo, multi_sample"),
        (lambda: BoundOptions(extra_rate=1.0), "extra_rate must be at least 0 and below 1"),
        (lambda: BoundOptions(num_samples=0), "num_samples must be at least 1, got 0"),
        (lambda: JointOptions(0, full_share=1.0), "full_share must be at least 0 and below 1"),
        (lambda: JointOptions(-1), "pretrain_updates must be at least 0, got -1"),
    ],
)
def test_bad_options_are_named(make, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        make()
