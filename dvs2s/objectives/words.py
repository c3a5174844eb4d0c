"""The word predictor alone: how well T can be predicted, at a fraction of the cost of a model."""

from torch import nn

from dvs2s.data.batch import Batch
from dvs2s.model import Dvs2sModel
from dvs2s.objectives.cross_entropy import encode
from dvs2s.objectives.row_price import RowPrice
from dvs2s.objectives.terms import LossTerms
from dvs2s.objectives.word_loss import WordLoss
from dvs2s.objectives.word_terms import word_terms


class Words(nn.Module):
    """Trains the word predictor; encoder and decoder are left as they are.

    Args:
        model: the network.
        word_loss: positives and negatives of β.
        price: of a row of T.

    Source: paper, pre-training of the word prediction network.
    """

    def __init__(self, model: Dvs2sModel, *, word_loss: WordLoss, price: RowPrice) -> None:
        super().__init__()
        self.model, self.word_loss, self.price = model, word_loss, price

    def forward(self, batch: Batch) -> LossTerms:
        """Returns the word loss, a response word."""
        encoded = encode(self.model, batch)
        words = word_terms(self.model, encoded, batch, self.word_loss, self.price)
        total = words.loss / batch.num_tokens
        parts = {"loss": total.detach(), **words.logged(batch.num_tokens)}
        return LossTerms(total, batch.num_tokens, parts)
