"""The gradient that Joint minimises, against enumeration of every vocabulary of a tiny model."""

import itertools
import math

import pytest
import torch
from torch import Tensor

from dvs2s.data.batch import Batch, make_batch
from dvs2s.model import Dvs2sModel, ModelSizes
from dvs2s.objectives.baselines import Baseline
from dvs2s.objectives.cross_entropy import full_cross_entropy
from dvs2s.objectives.dvs2s import Joint, JointOptions
from dvs2s.objectives.gold import gold_membership
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


def enumerated(model: Dvs2sModel, batch: Batch, full_weight: float) -> Tensor:
    """-(B1) with expectation over all 2^|free| vocabularies, negatives, price and full softmax."""
    encoded = model.encode(batch.messages, batch.message_lengths)
    logits = model.predict_words(encoded)[0]
    hidden = model.unroll(encoded, batch.responses)
    scores = model.output.projection(hidden)[0]  # (T, V)
    gold = gold_membership(batch.responses, batch.response_mask, WORDS)[0]
    free = [i for i in range(CONTENT) if not gold[FIXED + i]]
    expectation = logits.new_zeros(())
    for choice in itertools.product([False, True], repeat=len(free)):
        member = gold.clone()
        member[:FIXED] = True
        log_q = logits.new_zeros(())
        for i, chosen in zip(free, choice, strict=True):
            member[FIXED + i] = chosen
            log_q = log_q + torch.nn.functional.logsigmoid(logits[i] if chosen else -logits[i])
        log_p = scores.masked_fill(~member, -torch.inf).log_softmax(-1)
        expectation = expectation + log_q.exp() * log_p.gather(1, batch.responses[0][:, None]).sum()
    content = gold[FIXED:]
    positive = torch.nn.functional.softplus(-logits[content]).sum()
    absent = torch.nn.functional.softplus(logits[~content]).sum()
    full = full_cross_entropy(model, hidden, batch).sum()
    total = -expectation + positive + (PRICE + NEGATIVES) * absent + full_weight * full
    return total / batch.num_tokens


@pytest.mark.parametrize("full_weight", [0.0, 0.5])
@pytest.mark.parametrize("estimator", ["leave_one_out", "running", "local_expectation"])
def test_mean_gradient_is_the_enumerated_one(estimator: str, full_weight: float) -> None:
    local = estimator == "local_expectation"
    model, batch = instance()
    objective = Joint(
        model,
        word_loss=WordLoss(Negatives("full", weight=NEGATIVES), torch.ones(CONTENT)),
        price=RowPrice(price=PRICE),
        baseline=Baseline("none" if local else estimator),
        options=JointOptions(
            pretrain_updates=0,
            num_samples=4,
            full_weight=full_weight,
            estimator=estimator if local else "score_function",
        ),
    ).double()
    parameters = list(model.parameters())
    expected = torch.autograd.grad(enumerated(model, batch, full_weight), parameters)
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
