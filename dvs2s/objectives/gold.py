"""Which words a response holds."""

from torch import Tensor


def gold_membership(responses: Tensor, mask: Tensor, vocabulary_size: int) -> Tensor:
    """Returns the words of each response.

    Args:
        responses: (B, T) int64.
        mask: (B, T) bool, True on words.
        vocabulary_size: V.

    Returns:
        (B, V) bool.
    """
    counts = responses.new_zeros(responses.shape[0], vocabulary_size)
    return counts.scatter_add_(1, responses, mask.long()) > 0
