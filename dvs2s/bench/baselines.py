"""Baselines that have seen some training, for a study that does not train."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from tqdm import tqdm

from dvs2s.data.batch import Batch
from dvs2s.layers.encoder import Encoded
from dvs2s.model import Dvs2sModel
from dvs2s.objectives.bounds import Bound
from dvs2s.objectives.cross_entropy import encode
from dvs2s.objectives.lower_bound import sample_vocabularies
from dvs2s.objectives.reward_predictor import RewardPredictor, reward_ceilings, squared_error
from dvs2s.objectives.row_price import RowPrice
from dvs2s.objectives.word_loss import Negatives, WordLoss
from dvs2s.objectives.word_terms import WordTerms, word_terms


@dataclass(frozen=True)
class Seen:
    """A batch that baselines learn from: what they may look at, and the rewards of its draws."""

    final: Tensor
    hidden: Tensor
    ceilings: Tensor
    mask: Tensor
    rewards: Tensor


@torch.no_grad()
def _seen(model: Dvs2sModel, batch: Batch, samples: int = 5) -> Seen:
    encoded = encode(model, batch)
    hidden, words = model.unroll(encoded, batch.responses), word_terms_of(model, encoded, batch)
    membership = sample_vocabularies(words.logits, words.gold, samples)
    losses = model.output.losses(hidden, membership, batch.responses)
    mask = batch.response_mask
    rows, fixed = model.output.projection, model.sizes.num_fixed
    ceilings = reward_ceilings(hidden, rows.weight, rows.bias, batch.responses, num_fixed=fixed)
    return Seen(encoded.final, hidden, ceilings, mask, -(losses * mask[:, None]).sum(-1))


def warm_up(model: Dvs2sModel, bounds: Sequence[Bound], batches: Sequence[Batch]) -> float:
    """Lets baselines see other batches first; returns the rewards' mean spread over draws."""
    seen = [_seen(model, batch) for batch in tqdm(batches, desc="warm-up", disable=None)]
    for bound in bounds:
        if bound.baseline.kind == "running":
            for batch in seen:
                bound.baseline(batch.rewards, batch.mask.sum(1))
        if bound.predictor is not None:
            _teach(bound.predictor, seen)
        bound.baseline.eval()  # from here on they stay as they are
    return sum(float(batch.rewards.std(1).mean()) for batch in seen) / len(seen)


def _teach(predictor: RewardPredictor, seen: Sequence[Seen], epochs: int = 20) -> None:
    optimizer = torch.optim.Adam(predictor.parameters(), lr=0.003)
    for batch in [batch for _ in range(epochs) for batch in seen]:
        guess = predictor(batch.final, batch.hidden, batch.ceilings, batch.mask)
        error = squared_error(guess, batch.rewards, batch.mask.sum(1)) / batch.mask.sum()
        optimizer.zero_grad()
        torch.autograd.backward(error)
        optimizer.step()


def word_terms_of(model: Dvs2sModel, encoded: Encoded, batch: Batch) -> WordTerms:
    """Returns β and the gold words of a batch, with no negatives and no price."""
    counts = torch.ones(model.sizes.vocabulary_size - model.sizes.num_fixed)
    loss = WordLoss(Negatives("none"), counts).to(batch.responses.device)
    return word_terms(model, encoded, batch, loss, RowPrice().to(batch.responses.device))
