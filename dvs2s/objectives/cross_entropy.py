"""S2SA: cross-entropy over the full vocabulary, no word prediction."""

import torch.nn.functional as F
from torch import Tensor, nn

from dvs2s.data.batch import Batch
from dvs2s.layers.encoder import Encoded
from dvs2s.model import Dvs2sModel
from dvs2s.objectives.terms import LossTerms


def full_cross_entropy(model: Dvs2sModel, hidden: Tensor, batch: Batch) -> Tensor:
    """Returns ``-log p(y_l)`` over the full vocabulary, (B, T) nats, 0 at padding."""
    logits = model.output.projection(hidden)  # (B, T, V)
    losses = F.cross_entropy(logits.flatten(0, 1), batch.responses.flatten(), reduction="none")
    return losses.view_as(batch.responses) * batch.response_mask


def encode(model: Dvs2sModel, batch: Batch) -> Encoded:
    """Returns the batch's encoded messages."""
    return model.encode(batch.messages, batch.message_lengths)


class CrossEntropy(nn.Module):
    """Maximises the likelihood of the response over the full vocabulary.

    Args:
        model: the network; its word predictor is left as it is.

    Source: paper, baseline S2SA.
    """

    def __init__(self, model: Dvs2sModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, batch: Batch) -> LossTerms:
        """Returns the mean loss of a response word."""
        hidden = self.model.unroll(encode(self.model, batch), batch.responses)
        loss = full_cross_entropy(self.model, hidden, batch).sum() / batch.num_tokens
        return LossTerms(loss, batch.num_tokens, {"nll": loss.detach()})
