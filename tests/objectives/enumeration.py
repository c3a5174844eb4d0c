"""Pairs with so few content words that every vocabulary can be listed."""

import itertools

import torch
from torch import Tensor

NUM_FIXED, CONTENT, WIDTH, LENGTH = 3, 6, 4, 5
WORDS = NUM_FIXED + CONTENT


class Instance:
    """One pair with random decoder states, output rows and β; content words few enough to list."""

    def __init__(self, seed: int) -> None:
        generator = torch.Generator().manual_seed(seed)

        def random(*shape: int) -> Tensor:
            return torch.randn(*shape, generator=generator, dtype=torch.float64)

        self.hidden = random(1, LENGTH, WIDTH)
        self.weight = random(WORDS, WIDTH).requires_grad_()
        self.bias = random(WORDS)
        self.logits = random(1, CONTENT).requires_grad_()
        self.targets = torch.randint(0, WORDS, (1, LENGTH), generator=generator)
        self.targets[0, 0] = NUM_FIXED + 1  # at least one content word
        self.mask = torch.tensor([[True] * (LENGTH - 1) + [False]])
        self.gold = torch.zeros(1, WORDS, dtype=torch.bool)
        self.gold[0, self.targets[0, : LENGTH - 1]] = True

    def vocabularies(self) -> tuple[Tensor, Tensor]:
        """Every T with the function words in: membership (N, V) and log p(T | X) (N,)."""
        rows = torch.tensor(list(itertools.product([False, True], repeat=CONTENT)))
        membership = torch.cat([torch.ones(len(rows), NUM_FIXED, dtype=torch.bool), rows], dim=1)
        beta = self.logits[0].sigmoid()
        return membership, torch.where(rows, beta.log(), (1 - beta).log()).sum(1)

    def log_likelihoods(self, membership: Tensor) -> Tensor:
        """log p(Y | T, X) of vocabularies (N, V) by one plain softmax each."""
        logits = self.hidden[0] @ self.weight.T + self.bias  # (L, V)
        values = []
        for words in membership:
            log_p = logits.masked_fill(~words, -torch.inf).log_softmax(-1)
            kept = log_p.gather(-1, self.targets[0, :, None])[:, 0][self.mask[0]]
            values.append(kept.sum())
        return torch.stack(values)

    def exact(self) -> Tensor:
        membership, log_prior = self.vocabularies()
        holds = (membership | ~self.gold).all(1)  # p(Y | T) = 0 where a gold word is missing
        return torch.logsumexp(log_prior[holds] + self.log_likelihoods(membership[holds]), 0)

    def bound(self) -> tuple[Tensor, Tensor]:
        """(B1): the gold words' log β, and the expectation under q by enumeration."""
        membership, log_prior = self.vocabularies()
        holds = (membership | ~self.gold).all(1)
        inside = torch.logsumexp(log_prior[holds], 0)  # log P(Y ⊂ T | X)
        log_q = log_prior[holds] - inside
        return inside, (log_q.exp() * self.log_likelihoods(membership[holds])).sum()
