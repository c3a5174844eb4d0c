"""TA-S2S: topics, joint attention and biased generation against slow twins, and what it learns."""

import math

import numpy as np
import pytest
import torch

from dvs2s.data.batch import make_batch
from dvs2s.decoding.search import SearchOptions, search
from dvs2s.decoding.session import Session
from dvs2s.dynamic_vocab import DynamicVocab
from dvs2s.layers.topic_attention import TopicAttention, with_topic_words
from dvs2s.layers.topics import Topics, TopicWords
from dvs2s.model import Dvs2sModel, ModelSizes
from dvs2s.objectives.ta_s2s import TopicAware

WORDS, FIXED, TOPICS = 20, 8, 3


def counts(seed=0):
    """Words 10 .. 19 are counted; 5 .. 9 are function words and words too common."""
    drawn = np.random.default_rng(seed).gamma(0.3, 5.0, (WORDS, TOPICS)) + 0.01
    drawn[:10] = 0
    return torch.from_numpy(drawn).float()


def model(seed=0, **more):
    torch.manual_seed(seed)
    sizes = {"num_topics": TOPICS, "topic_words": 4, **more}
    made = Dvs2sModel(ModelSizes(WORDS, FIXED, 6, 7, 3, 3, **sizes))
    for parameter in made.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    if made.topics is not None:
        made.topics.set_counts(counts())
    return made.eval()


def a_batch():
    messages = [[12, 6, 13], [10], [7, 6, 5, 19, 19]]
    responses = [[11, 5, 14], [6], [12, 12]]
    sides = [[np.array(side) for side in sides] for sides in (messages, responses)]
    return make_batch(sides[0], sides[1], range(3))


def test_a_topic_is_the_most_probable_one_and_its_words_are_its_own():
    topics, table = Topics(WORDS, TOPICS, 4), counts().double().numpy()
    topics.set_counts(counts())
    messages = [[12, 6, 13, 0], [10, 0, 0, 0], [7, 6, 5, 0], [19, 19, 14, 11]]
    share = table / table.sum(0)
    for message, topic in zip(messages, topics.topic_of(torch.tensor(messages)), strict=True):
        joint = [
            table[:, z].sum() * math.prod(share[w, z] for w in message if w >= 10)
            for z in range(TOPICS)
        ]
        assert int(topic) == int(np.argmax(joint))
    found = topics(torch.tensor(messages))
    for place, topic in enumerate(topics.topic_of(torch.tensor(messages)).tolist()):
        best = sorted(range(WORDS), key=lambda w: -table[w, topic])[:4]
        assert found.words[place].tolist() == best
        for word, vector in zip(best, found.vectors[place], strict=True):
            assert vector.tolist() == pytest.approx(table[word] / table[word].sum(), abs=1e-6)
    # padding and company change nothing
    assert (
        topics.topic_of(torch.tensor([[12, 6, 13]])) == topics.topic_of(torch.tensor(messages))[0]
    )


def test_attention_to_topic_words_is_that_of_a_slow_twin():
    torch.manual_seed(0)
    layer = TopicAttention(5, final_size=4, num_topics=TOPICS, output_size=6).double()
    words = torch.tensor([[10, 11], [12, 13]])
    topics = TopicWords(words, torch.rand(2, 2, TOPICS, dtype=torch.float64))
    final, state = torch.randn(2, 4).double(), torch.randn(2, 3, 5).double()
    actual = layer(state, layer.memory(topics, final))
    part = layer.attention
    for b in range(2):
        for w in range(3):
            energies = []
            for j in range(2):
                beside = torch.cat([topics.vectors[b, j], final[b]])
                inner = part.query.weight @ state[b, w] + part.key.weight @ beside + part.key.bias
                energies.append(math.exp((part.energy.weight @ inner.tanh()).item()))
            weights = [e / sum(energies) for e in energies]
            context = sum(weights[j] * topics.vectors[b, j] for j in range(2))
            assert torch.allclose(actual[b, w], layer.values.weight @ context)

    def of(state, vectors, final):
        return layer(state, layer.memory(TopicWords(words, vectors), final))

    inputs = state.requires_grad_(), topics.vectors.requires_grad_(), final.requires_grad_()
    assert torch.autograd.gradcheck(of, inputs)


def test_topic_words_have_probability_of_their_own_as_in_the_paper():
    torch.manual_seed(1)
    logits, scores = torch.randn(2, 3, 9).double(), torch.randn(2, 3, 4).double()
    places = torch.tensor([[1, 4, 5, 8], [2, 0, 0, 7]])
    keep = torch.tensor([[True] * 4, [True, False, True, True]])  # place 0 twice, once in earnest
    actual = with_topic_words(logits, scores, places, keep).softmax(-1)
    for b in range(2):
        for r in range(3):
            mass = [math.exp(float(logits[b, r, w])) for w in range(9)]
            for n in range(4):
                if keep[b, n]:
                    mass[int(places[b, n])] += math.exp(float(scores[b, r, n]))
            expected = [m / sum(mass) for m in mass]
            assert actual[b, r].tolist() == pytest.approx(expected, abs=1e-12)
    inputs = logits.requires_grad_(), scores.requires_grad_()
    assert torch.autograd.gradcheck(lambda a, b: with_topic_words(a, b, places, keep), inputs)


@torch.no_grad()
def test_search_loss_and_scoring_speak_of_the_same_model():
    made, batch = model(), a_batch()
    encoded = made.encode(batch.messages, batch.message_lengths)
    hidden = made.unroll(encoded, batch.responses)
    chosen = torch.rand(3, 2, WORDS, generator=torch.Generator().manual_seed(3)) < 0.6
    chosen[:, :, :FIXED] = True
    chosen[:, 0] = True
    losses = made.losses(hidden, encoded, chosen, batch.responses)  # (B, 2, T)
    own = TopicAware(made)(batch).total * batch.num_tokens
    assert float((losses[:, 0] * batch.response_mask).sum()) == pytest.approx(float(own), rel=1e-6)
    for m in range(2):
        vocab = DynamicVocab.from_membership(chosen[:, m])
        session = Session(made, encoded, vocab)
        log_probs, state = session.start()
        live = [True] * 3
        for step in range(batch.responses.shape[1]):
            slots = vocab.slots(batch.responses[:, step : step + 1])
            for b in range(3):
                if int(slots[b, 0]) < 0:
                    assert losses[b, m, step] == math.inf
                    live[b] = False  # the session cannot be told a word that it does not have
                elif live[b]:
                    said = float(log_probs[b, 0, int(slots[b, 0])])
                    assert said == pytest.approx(-float(losses[b, m, step]), abs=1e-5)
            assert log_probs.exp().sum(-1).allclose(torch.ones(1), atol=1e-5)
            log_probs, state = session.step(slots.clamp_min(0), state)


@torch.no_grad()
@pytest.mark.parametrize("kind", ["greedy", "beam", "sampling"])
def test_replies_do_not_depend_on_company(kind):
    made, batch = model(), a_batch()
    options = SearchOptions(kind=kind, beam=3, max_length=8)

    def replies(messages, lengths):
        encoded = made.encode(messages, lengths)
        vocab = DynamicVocab.full(len(lengths), WORDS, torch.device("cpu"))
        found = search(Session(made, encoded, vocab), options, input_seeds=[7] * len(lengths))
        return [one[0].slots for one in found]

    together = replies(batch.messages, batch.message_lengths)
    for i, length in enumerate(batch.message_lengths.tolist()):
        alone = replies(batch.messages[i : i + 1, :length], batch.message_lengths[i : i + 1])
        assert alone == together[i : i + 1]


@torch.no_grad()
def test_a_state_holds_the_topics():
    made, batch = model(), a_batch()
    again = Dvs2sModel(made.sizes)
    again.load_state_dict(made.state_dict(), strict=True)
    again.eval()
    sides = batch.messages, batch.message_lengths
    encoded, other = made.encode(*sides), again.encode(*sides)
    assert torch.equal(encoded.topics.words, other.topics.words)
    logits = made.logits(made.unroll(encoded, batch.responses), encoded)
    assert torch.equal(logits, again.logits(again.unroll(other, batch.responses), other))


def test_topic_words_change_what_is_said_and_every_part_learns():
    made, batch = model().train(), a_batch()
    objective = TopicAware(made)
    objective(batch).total.backward()
    for name, parameter in made.named_parameters():
        if "word_predictor" not in name:
            assert parameter.grad is not None and parameter.grad.abs().sum() > 0, name
    before = float(objective(batch).total.detach())
    made.topics.set_counts(counts(seed=5))
    assert float(objective(batch).total.detach()) != pytest.approx(before, rel=1e-6)
    optimizer = torch.optim.Adam(made.parameters(), lr=0.02)
    for _ in range(40):
        optimizer.zero_grad()
        objective(batch).total.backward()
        optimizer.step()
    assert float(objective(batch).total.detach()) < before / 2


def test_bad_input_is_refused():
    with pytest.raises(ValueError, match="model has no topics: set model.num_topics"):
        TopicAware(model(num_topics=0))
    with pytest.raises(ValueError, match="model has topics without words"):
        TopicAware(Dvs2sModel(ModelSizes(WORDS, FIXED, 6, 7, 3, 3, num_topics=2, topic_words=3)))
    with pytest.raises(ValueError, match="num_topics must be at least 0, got -1"):
        model(num_topics=-1)
    topics = Topics(WORDS, TOPICS, 11)
    with pytest.raises(ValueError, match="counts has 10 words for topics of 11"):
        topics.set_counts(counts())
    with pytest.raises(ValueError, match=r"counts must be \(V, Z\) = \(20, 3\), got \(20, 2\)"):
        topics.set_counts(counts()[:, :2])
    with pytest.raises(ValueError, match="counts must be finite, and above 0 or 0 in a whole row"):
        topics.set_counts(counts() * torch.tensor([1.0, 0.0, 1.0]))
