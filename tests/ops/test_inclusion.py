"""What a word's place in T is worth, against two plain softmaxes: with the word and without it."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dvs2s.ops.inclusion import inclusion_gains
from dvs2s.ops.monte_carlo import monte_carlo_cross_entropy
from dvs2s.ops.reference import masked_cross_entropy


@settings(max_examples=40, deadline=None)
@given(
    batch=st.integers(1, 3),
    rows=st.integers(1, 9),
    words=st.integers(2, 12),
    samples=st.integers(1, 3),
    scale=st.sampled_from([0.1, 1.0, 2.0]),
    seed=st.integers(0, 10**6),
)
def test_equals_two_softmaxes_a_word(
    batch: int, rows: int, words: int, samples: int, scale: float, seed: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    hidden = torch.randn(batch, rows, 4, generator=generator, dtype=torch.float64)
    weight = torch.randn(words, 4, generator=generator, dtype=torch.float64) * scale
    bias = torch.randn(words, generator=generator, dtype=torch.float64)
    targets = torch.randint(0, words, (batch, rows), generator=generator)
    mask = torch.rand(batch, rows, generator=generator) < 0.8
    membership = torch.rand(batch, samples, words, generator=generator) < 0.5
    gold = torch.zeros(batch, words, dtype=torch.bool).scatter_(1, targets, True)
    membership |= gold[:, None]
    arguments = (hidden, weight, bias, membership, targets)
    losses = monte_carlo_cross_entropy(*arguments)
    gains = inclusion_gains(*arguments, mask, losses)
    for word in range(words):
        rewards = []
        for chosen in (True, False):
            changed = membership.clone()
            changed[:, :, word] = chosen
            plain = masked_cross_entropy(hidden, weight, bias, changed, targets)
            rewards.append(-(plain * mask[:, None]).sum(-1).mean(1))
        free = ~gold[:, word]
        torch.testing.assert_close(
            gains[free, word], (rewards[0] - rewards[1])[free], rtol=1e-5, atol=1e-8
        )


def test_float32_stays_finite_where_a_word_outside_has_all_the_mass() -> None:
    bias = torch.tensor([200.0, 0.0, 0.0, 100.0])
    membership = torch.tensor([[[False, True, True, True]]])
    arguments = (torch.ones(1, 9, 2), torch.zeros(4, 2), bias, membership, torch.ones(1, 9).long())
    losses = monte_carlo_cross_entropy(*arguments)
    gains = inclusion_gains(*arguments, torch.ones(1, 9, dtype=torch.bool), losses)
    assert gains.isfinite().all()
    assert gains[0, 0] < -100 and gains[0, 3] < -100 and -0.01 < gains[0, 2] <= 0
