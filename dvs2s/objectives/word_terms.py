"""The word predictor's share of an objective: positives, negatives and the price of rows."""

from dataclasses import dataclass

from torch import Tensor

from dvs2s.data.batch import Batch
from dvs2s.layers.encoder import Encoded
from dvs2s.model import Dvs2sModel
from dvs2s.objectives.gold import gold_membership
from dvs2s.objectives.row_price import RowPrice
from dvs2s.objectives.word_loss import WordLoss


@dataclass(frozen=True)
class WordTerms:
    """The word predictor's losses over a batch.

    Args:
        loss: scalar, nats: positives, negatives and price, summed over the batch.
        logits: (B, C) float, of β.
        gold: (B, V) bool, words of the responses.
        parts: detached sums by name, nats.
        expected_size: detached mean E|T|.
        multiplier: detached μ, the price of a row that was charged.
    """

    loss: Tensor
    logits: Tensor
    gold: Tensor
    parts: dict[str, Tensor]
    expected_size: Tensor
    multiplier: Tensor

    def logged(self, num_tokens: int) -> dict[str, Tensor]:
        """Returns what TensorBoard shows of them."""
        beta = self.logits.detach().sigmoid()
        gold = self.gold[:, -beta.shape[1] :]
        words = gold.sum().clamp_min(1)
        return {
            "words/positive": self.parts["positive"] / num_tokens,
            "words/negative": self.parts["negative"] / num_tokens,
            "words/price": self.parts["price"] / num_tokens,
            "words/expected_size": self.expected_size,
            "words/price_per_row": self.multiplier,
            "words/beta_gold": (beta * gold).sum() / words,
            "words/beta_other": (beta * ~gold).sum() / (~gold).sum().clamp_min(1),
        }


def word_terms(
    model: Dvs2sModel, encoded: Encoded, batch: Batch, word_loss: WordLoss, price: RowPrice
) -> WordTerms:
    """Returns the word predictor's losses over a batch."""
    logits = model.predict_words(encoded)  # (B, C)
    num_fixed = model.sizes.num_fixed
    gold = gold_membership(batch.responses, batch.response_mask, model.sizes.vocabulary_size)
    positive, negative = word_loss(logits, gold[:, num_fixed:])
    cost = price(logits, gold[:, num_fixed:])
    expected = num_fixed + logits.detach().sigmoid().sum(1).mean()
    multiplier = price.price.clone()
    price.observe(expected, rows=len(batch))
    parts = {
        "positive": positive.detach().sum(),
        "negative": negative.detach().sum(),
        "price": cost.detach().sum(),
    }
    loss = (positive + negative + cost).sum()
    return WordTerms(loss, logits, gold, parts, expected, multiplier)
