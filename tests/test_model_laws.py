"""Laws of the network: padding, order, full vocabulary, the separate objective."""

import copy

import numpy as np
import pytest
import torch
from torch import Tensor

from dvs2s.data.batch import Batch, make_batch
from dvs2s.decoding.search import Hypothesis, SearchOptions, search
from dvs2s.decoding.session import Session
from dvs2s.dynamic_vocab import DynamicVocab
from dvs2s.model import Dvs2sModel, ModelSizes
from dvs2s.objectives.baselines import Baseline
from dvs2s.objectives.bounds import BoundOptions
from dvs2s.objectives.cross_entropy import CrossEntropy
from dvs2s.objectives.dvs2s import Joint, JointOptions
from dvs2s.objectives.row_price import RowPrice
from dvs2s.objectives.separate import Separate
from dvs2s.objectives.word_loss import Negatives, WordLoss

WORDS, FIXED = 41, 9
SEARCHES = [
    SearchOptions(kind="greedy", max_length=9),
    SearchOptions(kind="beam", beam=6, num_best=3, max_length=9, length_penalty=0.6),
    SearchOptions(kind="sampling", num_best=2, max_length=9, top_p=0.9),
]


def model(seed: int = 0, dropout: float = 0.0) -> Dvs2sModel:
    torch.manual_seed(seed)
    network = Dvs2sModel(ModelSizes(WORDS, FIXED, 8, 12, 6, 10, dropout))
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.4)  # far from uniform, so that searches differ
    return network.eval()


def batch(lengths: list[int], seed: int = 1) -> Batch:
    random = np.random.default_rng(seed)
    messages = [random.integers(5, WORDS, n) for n in lengths]
    responses = [random.integers(5, WORDS, n % 5 + 1) for n in lengths]
    return make_batch(messages, responses, range(len(lengths)))


def replies(
    network: Dvs2sModel,
    messages: Tensor,
    lengths: Tensor,
    vocab: DynamicVocab,
    options: SearchOptions,
) -> list[list[Hypothesis]]:
    with torch.no_grad():
        encoded = network.encode(messages, lengths)
        seeds = [0] * len(lengths)
        return search(Session(network, encoded, vocab), options, input_seeds=seeds)


def assert_same(actual: list[Hypothesis], expected: list[Hypothesis]) -> None:
    assert [h.slots for h in actual] == [h.slots for h in expected]
    torch.testing.assert_close(
        torch.tensor([h.score for h in actual]),
        torch.tensor([h.score for h in expected]),
        atol=1e-5,
        rtol=1e-5,
    )


@pytest.mark.parametrize("options", SEARCHES, ids=lambda o: o.kind)
def test_padding_and_batch_mates_change_nothing(options: SearchOptions) -> None:
    network, together = model(), batch([7, 1, 4, 9, 2])
    chosen = torch.rand(5, WORDS, generator=torch.Generator().manual_seed(2)) < 0.5
    chosen[:, :FIXED] = True
    chosen[1] = True  # one with every word among others
    found = replies(
        network,
        together.messages,
        together.message_lengths,
        DynamicVocab.from_membership(chosen),
        options,
    )
    for i in range(5):
        length = int(together.message_lengths[i])
        alone = replies(
            network,
            together.messages[i : i + 1, :length],
            together.message_lengths[i : i + 1],
            DynamicVocab.from_membership(chosen[i : i + 1]),
            options,
        )
        assert_same(found[i], alone[0])


@pytest.mark.parametrize("options", SEARCHES, ids=lambda o: o.kind)
def test_full_dynamic_vocabulary_is_the_plain_softmax(options: SearchOptions) -> None:
    """The gathered rows of a T that holds every word, and the plain projection."""
    network, data = model(), batch([7, 3])
    plain = DynamicVocab.full(2, WORDS, torch.device("cpu"))
    padded = torch.cat([plain.ids, plain.ids[:, :1] * 0], dim=1)  # one slot past the length
    gathered = DynamicVocab(padded, plain.lengths, WORDS)
    expected = replies(network, data.messages, data.message_lengths, plain, options)
    actual = replies(network, data.messages, data.message_lengths, gathered, options)
    for row in range(2):
        assert_same(actual[row], expected[row])


def test_session_scores_are_the_models_log_probabilities() -> None:
    """A hypothesis' score is its log-likelihood by teacher forcing over the same T."""
    network, data = model(), batch([6, 3])
    chosen = torch.rand(2, WORDS, generator=torch.Generator().manual_seed(3)) < 0.6
    chosen[:, :FIXED] = True
    vocab = DynamicVocab.from_membership(chosen)
    options = SearchOptions(kind="beam", beam=5, num_best=5, max_length=8)
    found = replies(network, data.messages, data.message_lengths, vocab, options)
    for row, hypotheses in enumerate(found):
        words = vocab.row(row)
        for hypothesis in hypotheses:
            ids = [words[slot] for slot in hypothesis.slots] + [3] * hypothesis.finished
            length = int(data.message_lengths[row])
            one = data.messages[row : row + 1, :length]
            encoded = network.encode(one, data.message_lengths[row : row + 1])
            hidden = network.unroll(encoded, torch.tensor([ids]))
            logits = network.output.projection(hidden)[0]
            log_p = logits.masked_fill(~chosen[row], -torch.inf).log_softmax(-1)
            total = float(log_p[range(len(ids)), ids].sum().detach())
            assert hypothesis.log_prob == pytest.approx(total, abs=1e-4)


def test_padding_does_not_change_an_objective() -> None:
    network, data = model(), batch([5, 5])
    wide = Batch(
        torch.nn.functional.pad(data.messages, (0, 4)),
        data.message_lengths,
        torch.nn.functional.pad(data.responses, (0, 3)),
        data.response_lengths,
        data.index,
    )
    word_loss = WordLoss(Negatives("full"), torch.ones(WORDS - FIXED))
    objective = Separate(network, word_loss=word_loss, price=RowPrice(price=0.01))
    torch.testing.assert_close(objective(data).total, objective(wide).total)


def trained(objective: torch.nn.Module, updates: int = 6) -> Dvs2sModel:
    optimizer = torch.optim.SGD(objective.parameters(), lr=0.1)
    objective.train()
    for update in range(updates):
        torch.manual_seed(update)
        optimizer.zero_grad()
        objective(batch([6, 3, 5], seed=update)).total.backward()
        optimizer.step()
    return objective.model


def test_separate_training_leaves_s2sa_as_it_is() -> None:
    """S-DVS2S: encoder, decoder and output end exactly where plain training takes them."""
    start = model()
    word_loss = WordLoss(Negatives("full"), torch.ones(WORDS - FIXED))
    apart = trained(Separate(copy.deepcopy(start), word_loss=word_loss, price=RowPrice()))
    plain = trained(CrossEntropy(copy.deepcopy(start)))
    for name, expected in plain.named_parameters():
        actual = dict(apart.named_parameters())[name]
        if name.startswith("word_predictor"):
            moved = not torch.equal(actual, dict(start.named_parameters())[name])
            assert moved, name
        else:
            torch.testing.assert_close(actual, expected, msg=name)


def joint(network: Dvs2sModel, *, pretrain_updates: int, full_weight: float = 0.0) -> Joint:
    return Joint(
        network,
        word_loss=WordLoss(Negatives("none"), torch.ones(WORDS - FIXED)),
        price=RowPrice(price=0.01),
        baseline=Baseline("leave_one_out"),
        options=JointOptions(pretrain_updates, BoundOptions(full_weight=full_weight)),
    )


def test_joint_stage_begins_after_pretraining_and_validation_is_the_bound_in_both() -> None:
    objective, data = joint(model(), pretrain_updates=2).train(), batch([4, 6])
    seen = {}
    for update in (1, 2, 3):
        objective.begin_update(update)
        seen[update] = "reward" in objective(data).parts
    assert seen == {1: False, 2: False, 3: True}
    objective.begin_update(1)
    assert "reward" in objective.eval()(data).parts


def test_certain_words_make_the_bound_the_full_likelihood() -> None:
    """With β = 1 everywhere every sample is V: the joint loss is cross-entropy plus log β = 0."""
    network, data = model(), batch([4, 6])
    with torch.no_grad():
        network.word_predictor.output.weight.zero_()
        network.word_predictor.output.bias.fill_(60.0)
        network.word_predictor.repetition.zero_()
    objective = joint(network, pretrain_updates=0, full_weight=0.5).train()
    parts = objective(data).parts
    expected = CrossEntropy(network)(data).total
    torch.testing.assert_close(parts["nll"], expected)
    torch.testing.assert_close(parts["bound"], expected)
    torch.testing.assert_close(parts["full_nll"], expected)


def test_bad_models_are_named() -> None:
    with pytest.raises(ValueError, match="num_fixed must be at least 5"):
        ModelSizes(10, 3, 4, 4, 4, 4)
    with pytest.raises(ValueError, match="dropout must be at least 0 and below 1, got 1"):
        ModelSizes(10, 6, 4, 4, 4, 4, 1.0)
    with pytest.raises(ValueError, match="needs at least one word"):
        model().encode(torch.zeros(1, 2, dtype=torch.long), torch.tensor([0]))
    network, data = model(), batch([3])
    encoded = network.encode(data.messages, data.message_lengths)
    with pytest.raises(ValueError, match="one row for each of 1 messages"):
        Session(network, encoded, DynamicVocab.full(2, WORDS, torch.device("cpu")))
