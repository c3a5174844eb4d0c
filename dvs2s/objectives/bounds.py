"""The bounds that joint training can climb, from decoder states and β to a scalar."""

from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor

from dvs2s.data.batch import Batch
from dvs2s.model import Dvs2sModel
from dvs2s.objectives.baselines import Baseline
from dvs2s.objectives.closed_form import log_weights, widened
from dvs2s.objectives.lower_bound import Estimate, estimate, sample_vocabularies
from dvs2s.objectives.multi_sample import estimate_multi_sample
from dvs2s.objectives.reward_predictor import RewardPredictor, reward_ceilings, squared_error
from dvs2s.objectives.word_terms import WordTerms

BoundKind = Literal["monte_carlo", "multi_sample", "closed_form"]
Estimator = Literal["score_function", "local_expectation"]
BOUNDS: tuple[BoundKind, ...] = ("monte_carlo", "multi_sample", "closed_form")
ESTIMATORS: tuple[Estimator, ...] = ("score_function", "local_expectation")


@dataclass(frozen=True)
class BoundOptions:
    """Which bound, and how it is estimated.

    Args:
        kind: ``monte_carlo`` (B1), ``multi_sample``, tighter, or ``closed_form`` (B2), looser and
            without sampling.
        num_samples: M >= 1 vocabularies a pair (the paper's S); not of the closed form.
        estimator: of β's gradient: ``score_function`` is the paper's (REINFORCE with a baseline),
            ``local_expectation`` sums out each word's own Bernoulli: the same mean, far less noise.
        full_weight: weight of full-vocabulary cross-entropy beside the bound, at least 0: keeps
            the decoder calibrated on words outside of T, for one more partition sum.
        extra_rate: probability in 0 to below 1 with which a content word comes into T by chance.
    """

    kind: BoundKind = "monte_carlo"
    num_samples: int = 5
    estimator: Estimator = "score_function"
    full_weight: float = 0.0
    extra_rate: float = 0.0

    def __post_init__(self) -> None:
        for name, low in (("num_samples", 1), ("full_weight", 0)):
            if not getattr(self, name) >= low:
                raise ValueError(f"{name} must be at least {low}, got {getattr(self, name)}")
        if not 0 <= self.extra_rate < 1:
            raise ValueError(
                f"extra_rate must be at least 0 and below 1, got {self.extra_rate}: it is a "
                f"probability"
            )
        for name, choices in (("kind", BOUNDS), ("estimator", ESTIMATORS)):
            if getattr(self, name) not in choices:
                raise ValueError(
                    f"{name} must be one of {', '.join(choices)}, got {getattr(self, name)!r}"
                )


@dataclass(frozen=True)
class Likelihood:
    """What the response's likelihood adds to an objective.

    Args:
        loss: scalar to minimise, nats.
        value: detached scalar, nats.
        parts: detached scalars for the log.
    """

    loss: Tensor
    value: Tensor
    parts: dict[str, Tensor] = field(default_factory=dict)


class Bound:
    """The second term of a bound, summed over a batch, and its gradient.

    Args:
        options: which bound.
        baseline: of the score function.
        predictor: what a learned baseline guesses with; None for other baselines.
    """

    def __init__(
        self, options: BoundOptions, baseline: Baseline, predictor: RewardPredictor | None = None
    ) -> None:
        if (baseline.kind == "learned") != (predictor is not None):
            raise ValueError("a learned baseline and a predictor belong together: give both")
        self.options, self.baseline, self.predictor = options, baseline, predictor

    def __call__(
        self,
        model: Dvs2sModel,
        *,
        final: Tensor,
        hidden: Tensor,
        words: WordTerms,
        batch: Batch,
    ) -> Likelihood:
        """Returns the bound's share of the objective.

        Args:
            model: the network; only its output layer is used.
            final: (B, 2·H) float, the encoder's last states.
            hidden: (B, T, H) float, the decoder's states.
            words: β and the gold words.
            batch: B pairs.
        """
        if self.options.kind == "closed_form":
            return self._closed_form(model, hidden, words, batch)
        return self._sampled(model, final, hidden, words, batch)

    def _closed_form(
        self, model: Dvs2sModel, hidden: Tensor, words: WordTerms, batch: Batch
    ) -> Likelihood:
        weights = log_weights(widened(words.logits, self.options.extra_rate), words.gold)
        if self.options.full_weight:  # every word weighs 1
            weights = torch.cat([weights, torch.zeros_like(weights)], dim=1)
        losses = model.output.weighted_losses(hidden, weights, batch.responses)
        loss = (losses[:, 0] * batch.response_mask).sum()
        return self._with_full(loss, loss.detach(), losses[:, -1], batch, {})

    def _sampled(
        self,
        model: Dvs2sModel,
        final: Tensor,
        hidden: Tensor,
        words: WordTerms,
        batch: Batch,
    ) -> Likelihood:
        options, mask = self.options, batch.response_mask
        logits = widened(words.logits, options.extra_rate)
        membership = sample_vocabularies(logits, words.gold, options.num_samples)
        learns = torch.is_grad_enabled()  # in validation there is only a value to make
        scored = learns and options.estimator == "score_function"
        losses = self._losses(model, hidden, membership, logits, words.gold, batch, scored=scored)
        sampled, guess, gains = losses[:, : options.num_samples], None, None
        if scored and self.predictor is not None:
            rows, fixed = model.output.projection, model.sizes.num_fixed
            ceilings = reward_ceilings(
                hidden, rows.weight, rows.bias, batch.responses, num_fixed=fixed
            )
            guess = self.predictor(final, hidden, ceilings, mask)
        elif scored and self.baseline.kind == "closed_form":
            guess = -(losses[:, options.num_samples] * mask).sum(1).detach()
        elif learns and not scored:
            gains = model.output.sample_gains(hidden, membership, batch.responses, mask, sampled)
        form = estimate if options.kind == "monte_carlo" else estimate_multi_sample
        if gains is not None and options.kind == "monte_carlo":
            gains = gains.mean(1)
        bound = form(
            sampled,
            mask,
            logits=logits,
            membership=membership,
            gold=words.gold,
            baseline=self.baseline if scored else Baseline("none"),
            gains=gains,
            guess=guess,
        )
        loss, parts = self._with_baseline(bound, guess, batch)
        return self._with_full(loss, -bound.value.detach().sum(), losses[:, -1], batch, parts)

    def _losses(
        self,
        model: Dvs2sModel,
        hidden: Tensor,
        membership: Tensor,
        logits: Tensor,
        gold: Tensor,
        batch: Batch,
        *,
        scored: bool,
    ) -> Tensor:
        """Returns losses (B, .., T): of the samples; for its baseline of (B2); of every word."""
        whole = torch.ones_like(membership[:, :1])
        if not (scored and self.baseline.kind == "closed_form"):
            kinds = [membership] + [whole] * bool(self.options.full_weight)
            return model.output.losses(hidden, torch.cat(kinds, dim=1), batch.responses)
        inside = torch.zeros_like(membership, dtype=logits.dtype)
        inside.masked_fill_(~membership, -torch.inf)
        weights = [inside, log_weights(logits.detach(), gold)]
        weights += [torch.zeros_like(weights[1])] * bool(self.options.full_weight)
        return model.output.weighted_losses(hidden, torch.cat(weights, dim=1), batch.responses)

    def _with_baseline(
        self, bound: Estimate, guess: Tensor | None, batch: Batch
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Returns the loss, with a learned baseline's own in it, and what is logged."""
        loss = -bound.value.sum() - bound.surrogate.sum()
        parts = {"reward": bound.rewards.mean(), "reward_spread": _spread(bound.rewards)}
        if self.baseline.kind == "running":
            parts["baseline"] = self.baseline.value()
        if guess is not None and self.predictor is not None:
            error = squared_error(guess, bound.rewards, batch.response_lengths)
            loss = loss + error
            parts["baseline_error"] = error.detach() / batch.num_tokens
        return loss, parts

    def _with_full(
        self, loss: Tensor, value: Tensor, full: Tensor, batch: Batch, parts: dict[str, Tensor]
    ) -> Likelihood:
        """Adds the full-vocabulary cross-entropy (B, T) where it has a weight."""
        if not self.options.full_weight:
            return Likelihood(loss, value, parts)
        nats = (full * batch.response_mask).sum()
        logged = {"full_nll": nats.detach() / batch.num_tokens}
        return Likelihood(loss + self.options.full_weight * nats, value, parts | logged)


def _spread(rewards: Tensor) -> Tensor:
    """Returns the mean standard deviation of the rewards over an example's samples, nats."""
    if rewards.shape[1] == 1:
        return rewards.new_zeros(())
    return rewards.std(1).mean()
