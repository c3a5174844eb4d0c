"""Operators on a vocabulary that differs from input to input.

``reference`` says what they mean, in plain PyTorch, and is what everything is tested against;
``monte_carlo`` is the form that training and evaluation use; ``inclusion`` is what a word's place
in a sampled vocabulary is worth.
"""

from dvs2s.ops.inclusion import inclusion_gains
from dvs2s.ops.monte_carlo import monte_carlo_cross_entropy
from dvs2s.ops.reference import sparse_log_softmax

__all__ = ["inclusion_gains", "monte_carlo_cross_entropy", "sparse_log_softmax"]
