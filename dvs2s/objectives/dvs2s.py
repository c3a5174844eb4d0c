"""DVS2S: the decoder and the word predictor trained jointly through the lower bound (B1)."""

from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor, nn

from dvs2s.data.batch import Batch
from dvs2s.model import Dvs2sModel
from dvs2s.objectives.baselines import Baseline
from dvs2s.objectives.cross_entropy import encode, full_cross_entropy
from dvs2s.objectives.lower_bound import estimate, sample_vocabularies
from dvs2s.objectives.row_price import RowPrice
from dvs2s.objectives.terms import LossTerms
from dvs2s.objectives.word_loss import WordLoss
from dvs2s.objectives.word_terms import WordTerms, word_terms

Estimator = Literal["score_function", "local_expectation"]


@dataclass(frozen=True)
class JointOptions:
    """How the two stages are run.

    Args:
        pretrain_updates: updates of full-vocabulary cross-entropy and word prediction before the
            joint stage, at least 0.
        num_samples: M >= 1 vocabularies a pair (the paper's S).
        full_weight: weight of full-vocabulary cross-entropy in the joint stage, at least 0: keeps
            the decoder calibrated on words outside of T, for one more partition sum.
        estimator: of β's gradient: ``score_function`` is the paper's (REINFORCE with a baseline),
            ``local_expectation`` sums out each word's own Bernoulli: the same mean, far less noise.
    """

    pretrain_updates: int
    num_samples: int = 5
    full_weight: float = 0.0
    estimator: Estimator = "score_function"

    def __post_init__(self) -> None:
        for name, low in (("pretrain_updates", 0), ("num_samples", 1), ("full_weight", 0)):
            if not getattr(self, name) >= low:
                raise ValueError(f"{name} must be at least {low}, got {getattr(self, name)}")
        if self.estimator not in ("score_function", "local_expectation"):
            raise ValueError(
                f"estimator must be score_function or local_expectation, got {self.estimator!r}"
            )


class Joint(nn.Module):
    """Pre-training, then joint training by the Monte Carlo lower bound.

    Args:
        model: the network.
        word_loss: positives and negatives of β.
        price: of a row of T.
        baseline: of the score function.
        options: stages and samples.

    Source: paper, training; (B1) of docs/model.md.
    """

    def __init__(
        self,
        model: Dvs2sModel,
        *,
        word_loss: WordLoss,
        price: RowPrice,
        baseline: Baseline,
        options: JointOptions,
    ) -> None:
        super().__init__()
        self.model, self.options = model, options
        self.word_loss, self.price, self.baseline = word_loss, price, baseline
        self.joint = options.pretrain_updates == 0

    @property
    def stage(self) -> int:
        """0 in pre-training, 1 in joint training."""
        return int(self.joint)

    def begin_update(self, update: int) -> None:
        """Chooses the stage of the update (1 is the first)."""
        self.joint = update > self.options.pretrain_updates

    def forward(self, batch: Batch) -> LossTerms:
        """Returns the negative bound, the negative half and the price, a response word."""
        encoded = encode(self.model, batch)
        hidden = self.model.unroll(encoded, batch.responses)
        words = word_terms(self.model, encoded, batch, self.word_loss, self.price)
        if self.joint or not self.training:  # validation: one measure over both stages
            likelihood = self._bound(hidden, words, batch)
        else:
            loss = full_cross_entropy(self.model, hidden, batch).sum()
            likelihood = _Likelihood(loss, loss.detach())
        total = (likelihood.loss + words.loss) / batch.num_tokens
        parts = {
            "bound": (likelihood.value + words.parts["positive"]) / batch.num_tokens,
            "nll": likelihood.value / batch.num_tokens,
            **likelihood.parts,
            **words.logged(batch.num_tokens),
        }
        return LossTerms(total, batch.num_tokens, parts)

    def _bound(self, hidden: Tensor, words: WordTerms, batch: Batch) -> "_Likelihood":
        membership = sample_vocabularies(words.logits, words.gold, self.options.num_samples)
        kinds = membership
        if self.options.full_weight:  # one more "sample": every word
            kinds = torch.cat([membership, torch.ones_like(membership[:, :1])], dim=1)
        losses = self.model.output.losses(hidden, kinds, batch.responses)  # (B, M(+1), T)
        sampled = losses[:, : self.options.num_samples]
        gains = None
        if self.training and self.options.estimator == "local_expectation":
            gains = self.model.output.inclusion_gains(
                hidden, membership, batch.responses, batch.response_mask, sampled
            )
        bound = estimate(
            sampled,
            batch.response_mask,
            logits=words.logits,
            membership=membership,
            gold=words.gold,
            baseline=self.baseline,
            gains=gains,
        )
        loss = -bound.value.sum() - bound.surrogate.sum()
        value = -bound.value.detach().sum()
        parts = {"reward": bound.rewards.mean(), "reward_spread": _spread(bound.rewards)}
        if self.baseline.kind == "running":
            parts["baseline"] = self.baseline.value()
        if self.options.full_weight:
            full = (losses[:, -1] * batch.response_mask).sum()
            loss = loss + self.options.full_weight * full
            parts["full_nll"] = full.detach() / batch.num_tokens
        return _Likelihood(loss, value, parts)


@dataclass(frozen=True)
class _Likelihood:
    """What the response's likelihood adds: the scalar to minimise, its value in nats, its parts."""

    loss: Tensor
    value: Tensor
    parts: dict[str, Tensor] = field(default_factory=dict)


def _spread(rewards: Tensor) -> Tensor:
    """Returns the mean standard deviation of the rewards over an example's samples, nats."""
    if rewards.shape[1] == 1:
        return rewards.new_zeros(())
    return rewards.std(1).mean()
