"""Random models and messages, and what the plain search makes of them."""

import math

import torch
from torch import Tensor

from dvs2s.decoding.protocol import Hypothesis
from dvs2s.decoding.search import SearchOptions, search
from dvs2s.decoding.session import Session
from dvs2s.dynamic_vocab import DynamicVocab, select_words
from dvs2s.engine.words import Words
from dvs2s.model import Dvs2sModel, ModelSizes

BATCH = 5


def make_model(seed: int, *, vocabulary_size: int, num_fixed: int, width: int) -> Dvs2sModel:
    """A model with weights large enough that its distributions have peaks."""
    torch.manual_seed(seed)
    sizes = ModelSizes(
        vocabulary_size=vocabulary_size,
        num_fixed=num_fixed,
        embedding_size=width + 3,
        hidden_size=width,
        bag_size=width - 1,
        predictor_size=width + 2,
    )
    model = Dvs2sModel(sizes).eval()
    with torch.no_grad():
        for weight in model.parameters():
            weight.copy_(torch.randn_like(weight) * (2.0 / math.sqrt(weight.shape[-1])))
        model.output.projection.bias[3] += 1.0  # so that some sentences end
    return model


def make_messages(seed: int, vocabulary_size: int, *, batch: int = BATCH) -> tuple[Tensor, Tensor]:
    torch.manual_seed(seed)
    lengths = torch.randint(1, 8, (batch,))
    messages = torch.randint(4, vocabulary_size, (batch, int(lengths.max())))
    return messages * (torch.arange(messages.shape[1]) < lengths[:, None]), lengths


def plain(
    model: Dvs2sModel,
    messages: Tensor,
    lengths: Tensor,
    options: SearchOptions,
    words: Words,
    seeds: list[int],
) -> tuple[list[list[Hypothesis]], DynamicVocab]:
    """What ``Responder`` does, with PyTorch alone."""
    with torch.inference_mode():
        encoded = model.encode(messages, lengths)
        include = torch.zeros(len(messages), model.sizes.vocabulary_size, dtype=torch.bool)
        if words.message_words:
            include.scatter_(1, messages, True)
        if words.include is not None:
            include |= words.include
        if words.rule == "full":
            vocab = DynamicVocab.full(
                len(messages), model.sizes.vocabulary_size, torch.device("cpu")
            )
        elif words.vocab is not None:
            vocab = words.vocab
        else:
            vocab = select_words(
                model.predict_words(encoded),
                num_fixed=model.sizes.num_fixed,
                size=words.size if words.rule == "size" else None,
                threshold=words.threshold if words.rule == "threshold" else None,
                penalty=words.penalty,
                include=include,
            )
        session = Session(model, encoded, vocab, forbidden=words.forbid)
        return search(session, options, input_seeds=seeds), vocab
