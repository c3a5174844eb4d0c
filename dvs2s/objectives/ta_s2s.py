"""TA-S2S: cross-entropy of a decoder that knows the words of the message's topic."""

import torch.nn.functional as F
from torch import nn

from dvs2s.data.batch import Batch
from dvs2s.model import Dvs2sModel
from dvs2s.objectives.terms import LossTerms


class TopicAware(nn.Module):
    """Maximises the likelihood of the response, p_V + p_K, over the full vocabulary.

    Args:
        model: the network, with topics that have their counts; its word predictor is left as it is.

    Raises:
        ValueError: the model has no topics, or they are empty.

    Source: Xing et al. 2017.
    """

    def __init__(self, model: Dvs2sModel) -> None:
        super().__init__()
        if model.topics is None:
            raise ValueError("model has no topics: set model.num_topics, such as 100")
        if not model.topics.is_set:
            raise ValueError("model has topics without words: give it model.topics.set_counts")
        self.model = model

    def forward(self, batch: Batch) -> LossTerms:
        """Returns the mean loss of a response word."""
        encoded = self.model.encode(batch.messages, batch.message_lengths)
        logits = self.model.logits(self.model.unroll(encoded, batch.responses), encoded)
        losses = F.cross_entropy(logits.flatten(0, 1), batch.responses.flatten(), reduction="none")
        loss = (losses.view_as(batch.responses) * batch.response_mask).sum() / batch.num_tokens
        return LossTerms(loss, batch.num_tokens, {"nll": loss.detach()})
