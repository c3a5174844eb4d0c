"""The output layer without a trick: logits and softmax anew for each sampled vocabulary.

The yardstick of the training benchmark, and the twin that the fast form is compared with.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from dvs2s.layers.output import Output


class PerSampleOutput(Output):
    """Takes the rows of an ``Output`` over; each of the M losses is a cross-entropy of its own.

    Args:
        output: whose weights are used, the same tensors.
    """

    def __init__(self, output: Output) -> None:
        super().__init__(1, 1)
        self.projection = output.projection

    def losses(self, hidden: Tensor, membership: Tensor, targets: Tensor) -> Tensor:
        """Returns what ``Output.losses`` returns: (B, M, R), nats."""
        found = []
        for chosen in membership.unbind(1):  # (B, V)
            logits = self.projection(hidden)  # (B, R, V)
            logits = logits.masked_fill(~chosen[:, None], float("-inf"))
            losses = F.cross_entropy(logits.flatten(0, 1), targets.flatten(), reduction="none")
            found.append(losses.view_as(targets))
        return torch.stack(found, dim=1)
