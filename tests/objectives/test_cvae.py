"""The bound against integration over the latent variable; annealing; what training reaches."""

import math

import numpy as np
import pytest
import torch

from dvs2s.data.batch import make_batch
from dvs2s.layers.latent import Gaussian
from dvs2s.model import Dvs2sModel, ModelSizes
from dvs2s.objectives.cvae import Cvae

SIZES = {"vocabulary_size": 12, "num_fixed": 6, "embedding_size": 4, "hidden_size": 5,
         "bag_size": 3, "predictor_size": 3}  # fmt: skip


def model(latent_size, **more):
    torch.manual_seed(0)
    made = Dvs2sModel(ModelSizes(**{**SIZES, **more}, latent_size=latent_size))
    for parameter in made.parameters():
        torch.nn.init.normal_(parameter, std=0.6)
    return made


def a_batch():
    pairs = [([7, 8], [9, 6, 7]), ([10], [11]), ([6, 6, 9], [8, 8])]
    sides = [[np.array(side) for side in column] for column in zip(*pairs, strict=True)]
    return make_batch(sides[0], sides[1], range(3))


def test_divergence_and_density_are_those_of_torch():
    torch.manual_seed(1)
    one, other = (Gaussian(torch.randn(4, 3), torch.randn(4, 3)) for _ in range(2))
    theirs = [torch.distributions.Normal(g.mean, (g.log_variance / 2).exp()) for g in (one, other)]
    expected = torch.distributions.kl_divergence(*theirs).sum(1)
    assert torch.allclose(one.divergence(other), expected, atol=1e-5)
    values = torch.randn(4, 3)
    assert torch.allclose(one.log_prob(values), theirs[0].log_prob(values).sum(1), atol=1e-5)
    assert one.divergence(one).abs().max() < 1e-6


def log_likelihood(made, batch):
    """log p(y | x) of each pair by a sum over a fine grid of a one-dimensional z."""
    grid = torch.linspace(-12, 12, 301)
    encoded = made.read(batch.messages, batch.message_lengths)
    prior, found = made.prior(encoded), []
    for z in grid:
        values = z.expand(len(batch), 1)
        hidden = made.unroll(made.given(encoded, values), batch.responses)
        words = made.output.projection(hidden).log_softmax(-1)
        gold = words.gather(2, batch.responses[..., None])[..., 0] * batch.response_mask
        found.append(gold.sum(1) + prior.log_prob(values))
    return torch.logsumexp(torch.stack(found), 0) + math.log(float(grid[1] - grid[0]))


@torch.no_grad()
def test_the_bound_lies_below_the_likelihood_and_meets_it_where_q_is_right():
    made, batch = model(1).eval(), a_batch()
    objective = Cvae(made, anneal_updates=0).eval()
    exact = -float(log_likelihood(made, batch).sum()) / batch.num_tokens
    torch.manual_seed(2)
    bounds = [float(objective(batch).parts["bound"]) for _ in range(300)]
    error = 3 * np.std(bounds) / math.sqrt(300)
    assert np.mean(bounds) > exact - error  # losses: the bound on -log p lies above it
    # z without influence: every q of no divergence is right
    made.latent.start.weight.zero_()
    prior = made.prior(made.read(batch.messages, batch.message_lengths))
    objective._posterior = lambda encoded, given: prior
    assert float(objective(batch).parts["bound"]) == pytest.approx(
        -float(log_likelihood(made, batch).sum()) / batch.num_tokens, abs=1e-4
    )


def test_the_weight_of_kl_rises_and_validation_does_not_feel_it():
    objective, batch = Cvae(model(2), anneal_updates=10, bow_weight=0.0), a_batch()
    for update, weight in ((1, 0.1), (5, 0.5), (10, 1.0), (99, 1.0)):
        objective.begin_update(update)
        torch.manual_seed(3)
        terms = objective(batch)
        expected = terms.parts["nll"] + weight * terms.parts["latent/kl"] * 3 / batch.num_tokens
        assert float(terms.total.detach()) == pytest.approx(float(expected), rel=1e-5)
        assert float(terms.parts["latent/kl_weight"]) == pytest.approx(weight)
    objective.begin_update(1)
    objective.eval()
    assert float(objective(batch).parts["latent/kl_weight"]) == 1.0


def test_gradients_reach_every_part_and_the_bag_needs_z():
    objective, batch = Cvae(model(2), anneal_updates=0), a_batch()
    objective(batch).total.backward()
    for name, parameter in objective.named_parameters():
        if "word_predictor" not in name:
            assert parameter.grad is not None and parameter.grad.abs().sum() > 0, name
    alone = Cvae(model(2), anneal_updates=0, bow_weight=0.0)
    alone(batch).total.backward()
    assert all(p.grad.abs().sum() == 0 for p in alone.bag.parameters())


def test_noise_draws_replies_and_none_is_the_mean():
    made, batch = model(3).eval(), a_batch()
    sides = batch.messages, batch.message_lengths
    mean = made.encode(*sides)
    assert torch.equal(mean.offset, made.encode(*sides, torch.zeros(3, 3)).offset)
    assert not torch.allclose(mean.offset, made.encode(*sides, torch.ones(3, 3)).offset)
    state = made.start(mean)[0]
    assert not torch.allclose(state, made.start(made.encode(*sides, torch.ones(3, 3)))[0])
    plain = model(0)
    assert plain.encode(*sides, torch.ones(3, 3)).offset is None
    assert not any("latent" in name for name in plain.state_dict())


def test_bad_input_is_refused():
    with pytest.raises(ValueError, match="model has no latent variable: set model.latent_size"):
        Cvae(model(0), anneal_updates=0)
    with pytest.raises(ValueError, match="must be at least 0, got -1 and 1.0"):
        Cvae(model(1), anneal_updates=-1)
    with pytest.raises(ValueError, match="latent_size must be at least 0, got -1"):
        model(-1)
    with pytest.raises(ValueError, match="the model has no latent variable"):
        model(0).given(None, torch.zeros(1, 1))
