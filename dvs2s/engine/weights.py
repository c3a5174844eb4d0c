"""A model's weights in the order in which the engine takes them."""

import math

import torch
from torch import Tensor

from dvs2s.model import Dvs2sModel

_WIDTH = 64  # of a sketch; cuda_ext/csrc/decode_cpu/step_kernels.h has it, too
_FEWEST_WORDS = 2_048  # below, all rows are read sooner than their sketches
_ROWS_LOOKED_AT = 16_384  # spread over the words: enough to tell in which directions rows differ


def engine_weights(model: Dvs2sModel) -> list[Tensor]:
    """Returns the 29 tensors that the engine packs, float32 and contiguous.

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
        sketch_directions(predictor.output.weight.detach()),
    ]
    return [t.detach().to("cpu", torch.float32).contiguous() for t in tensors]


def sketch_directions(rows: Tensor) -> Tensor:
    """Returns orthonormal directions between which the word predictor's rows are longest.

    Args:
        rows: (C, D) float.

    Returns:
        (64, D) float32: the leading right singular vectors of a sample of the rows, mixed so that a
        row is about as long along each of them, which four bits a number round best. (0, D) where
        sketches would not pay, or some row is not finite.
    """
    count, width = rows.shape
    if count < _FEWEST_WORDS or width < 2 * _WIDTH:
        return rows.new_empty(0, width)
    sample = rows[:: max(1, count // _ROWS_LOOKED_AT)].to("cpu", torch.float32)
    products = sample.T @ sample
    if not bool(products.isfinite().all()):
        return products[:0]
    _, vectors = torch.linalg.eigh(products)  # rising
    directions: Tensor = _hadamard(_WIDTH) @ vectors[:, -_WIDTH:].T
    return directions


def _hadamard(size: int) -> Tensor:
    """Returns an orthonormal matrix whose numbers are all of one size; ``size`` a power of two."""
    matrix = torch.ones(1, 1)
    while len(matrix) < size:
        matrix = torch.cat([torch.cat([matrix, matrix], 1), torch.cat([matrix, -matrix], 1)])
    return matrix / math.sqrt(size)
