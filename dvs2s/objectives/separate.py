"""S-DVS2S: the ablation in which the two losses are trained apart."""

from torch import nn

from dvs2s.data.batch import Batch
from dvs2s.model import Dvs2sModel
from dvs2s.objectives.cross_entropy import encode, full_cross_entropy
from dvs2s.objectives.row_price import RowPrice
from dvs2s.objectives.terms import LossTerms
from dvs2s.objectives.word_loss import WordLoss
from dvs2s.objectives.word_terms import word_terms


class Separate(nn.Module):
    """S-DVS2S: the same two losses, trained apart.

    The decoder sees full-vocabulary cross-entropy only and the word predictor its log loss only.
    They share no weights, so the decoder is S2SA's, but for the clipping of gradients, whose norm
    is taken over both.

    Args:
        model: the network.
        word_loss: positives and negatives of β.
        price: of a row of T.

    Source: paper, ablation S-DVS2S.
    """

    def __init__(self, model: Dvs2sModel, *, word_loss: WordLoss, price: RowPrice) -> None:
        super().__init__()
        self.model, self.word_loss, self.price = model, word_loss, price

    def forward(self, batch: Batch) -> LossTerms:
        """Returns the sum of both losses, a response word."""
        encoded = encode(self.model, batch)
        hidden = self.model.unroll(encoded, batch.responses)
        nll = full_cross_entropy(self.model, hidden, batch).sum()
        words = word_terms(self.model, encoded, batch, self.word_loss, self.price)
        total = (nll + words.loss) / batch.num_tokens
        parts = {"nll": nll.detach() / batch.num_tokens, **words.logged(batch.num_tokens)}
        return LossTerms(total, batch.num_tokens, parts)
