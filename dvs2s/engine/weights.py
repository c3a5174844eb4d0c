"""A model's weights in the order in which the engine takes them."""

import torch
from torch import Tensor

from dvs2s.model import Dvs2sModel


def engine_weights(model: Dvs2sModel) -> list[Tensor]:
    """Returns the 28 tensors that the engine packs, float32 and contiguous.

    Those that are so already are not copied: embeddings, and in float32 the output's and the word
    predictor's rows, are shared with the model. Train a model on, and it needs a new engine.
    """
    rnn, decoder, predictor = model.encoder.rnn, model.decoder, model.word_predictor
    tensors: list[Tensor] = [model.embedding.weight]
    for suffix in ("l0", "l0_reverse"):
        for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"):
            tensors.append(getattr(rnn, f"{name}_{suffix}"))
    attention = decoder.attention
    tensors += [
        attention.query.weight,
        attention.key.weight,
        attention.key.bias,
        attention.energy.weight,
        decoder.start.weight,
        decoder.start.bias,
        decoder.word_gates.weight,
        decoder.word_gates.bias,
        decoder.context_gates.weight,
        decoder.state_gates.weight,
        decoder.state_gates.bias,
        model.output.projection.weight,
        model.output.projection.bias,
        predictor.bags.weight,
        predictor.hidden.weight,
        predictor.hidden.bias,
        predictor.output.weight,
        predictor.output.bias,
        predictor.repetition,
    ]
    return [t.detach().to("cpu", torch.float32).contiguous() for t in tensors]
