"""Operators on a vocabulary that differs from input to input.

``reference`` says what they mean, in plain PyTorch; ``library`` registers them once, with the
reference as the kernel of every device that the compiled library does not serve. ``sparse``,
``monte_carlo`` and ``weighted`` are what people call; ``inclusion`` is what a word's place in a
sampled vocabulary is worth. docs/operators.md has schema, shapes and errors.
"""

from dvs2s.ops import extension, library, monte_carlo, weighted
from dvs2s.ops.extension import reads_through_ids
from dvs2s.ops.inclusion import inclusion_gains, sample_gains
from dvs2s.ops.monte_carlo import monte_carlo_cross_entropy
from dvs2s.ops.planner import Route
from dvs2s.ops.reference import quantise_rows
from dvs2s.ops.sparse import (
    compact,
    select,
    sparse_cross_entropy,
    sparse_log_softmax,
    sparse_topk,
)
from dvs2s.ops.weighted import weighted_cross_entropy

__all__ = [
    "Route",
    "compact",
    "inclusion_gains",
    "monte_carlo_cross_entropy",
    "quantise_rows",
    "reads_through_ids",
    "sample_gains",
    "select",
    "sparse_cross_entropy",
    "sparse_log_softmax",
    "sparse_topk",
    "weighted_cross_entropy",
]

library.register()
monte_carlo.register()
weighted.register()
extension.load()
