"""A padded batch of message and response pairs."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dvs2s.text.specials import EOS, PAD, UNK


@dataclass(frozen=True, eq=False)
class Batch:
    """B pairs as padded ids.

    Args:
        messages: (B, S) int64, PAD after the end; at least one token a row.
        message_lengths: (B,) int64, 1 to S.
        responses: (B, T) int64, each ending in EOS, PAD after it; T is 0 where there are none.
        response_lengths: (B,) int64 including EOS.
        index: (B,) int64 numbers of the pairs in their corpus.
    """

    messages: Tensor
    message_lengths: Tensor
    responses: Tensor
    response_lengths: Tensor
    index: Tensor

    def __len__(self) -> int:
        return self.messages.shape[0]

    @property
    def message_mask(self) -> Tensor:
        """(B, S) bool, True where a message has a token."""
        return _mask(self.message_lengths, self.messages.shape[1])

    @property
    def response_mask(self) -> Tensor:
        """(B, T) bool, True where a response has a token or its EOS."""
        return _mask(self.response_lengths, self.responses.shape[1])

    @cached_property
    def num_tokens(self) -> int:
        """Number of response tokens including EOS."""
        return int(self.response_lengths.sum())

    def rows(self, chosen: slice) -> "Batch":
        """Returns the batch of some of the pairs, padded as wide as this one."""
        return Batch(
            self.messages[chosen],
            self.message_lengths[chosen],
            self.responses[chosen],
            self.response_lengths[chosen],
            self.index[chosen],
        )

    def pinned(self) -> "Batch":
        """Returns the batch in page-locked memory, from which a GPU copies while it computes."""
        return Batch(
            self.messages.pin_memory(),
            self.message_lengths.pin_memory(),
            self.responses.pin_memory(),
            self.response_lengths.pin_memory(),
            self.index.pin_memory(),
        )

    def to(self, device: torch.device | str) -> "Batch":
        """Returns the batch on another device."""
        moved = Batch(
            self.messages.to(device, non_blocking=True),
            self.message_lengths.to(device, non_blocking=True),
            self.responses.to(device, non_blocking=True),
            self.response_lengths.to(device, non_blocking=True),
            self.index.to(device, non_blocking=True),
        )
        # Counted before the move: reading it on the other device would wait for that device.
        moved.__dict__["num_tokens"] = self.num_tokens
        return moved


def make_batch(
    messages: Sequence[NDArray[np.integer]],
    responses: Sequence[NDArray[np.integer]] | None,
    index: Sequence[int] | NDArray[np.integer],
) -> Batch:
    """Returns the padded batch of some pairs.

    Args:
        messages: B >= 1 arrays of ids without BOS and EOS; an empty one becomes a single UNK.
        responses: B arrays of ids without BOS and EOS, or None where only messages are known.
        index: B pair numbers.

    Raises:
        ValueError: no message, different numbers of them, or an id below 0.
    """
    size = len(messages)
    if size == 0:
        raise ValueError("messages must hold at least one message, got 0")
    if responses is not None and len(responses) != size:
        raise ValueError(f"responses must hold {size} arrays like messages, got {len(responses)}")
    if len(index) != size:
        raise ValueError(f"index must hold {size} numbers like messages, got {len(index)}")
    padded, lengths = _pad(messages, end=None)
    if responses is None:
        answers, answer_lengths = np.zeros((size, 0), np.int64), np.zeros(size, np.int64)
    else:
        answers, answer_lengths = _pad(responses, end=EOS)
    return Batch(
        torch.from_numpy(padded),
        torch.from_numpy(lengths),
        torch.from_numpy(answers),
        torch.from_numpy(answer_lengths),
        torch.as_tensor(np.asarray(index, dtype=np.int64)),
    )


def _pad(
    rows: Sequence[NDArray[np.integer]], *, end: int | None
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Returns (rows padded with PAD, their lengths); `end` is put behind each row."""
    lengths = np.array([len(row) for row in rows], dtype=np.int64)
    lengths = np.maximum(lengths, 1) if end is None else lengths + 1
    padded = np.full((len(rows), int(lengths.max())), PAD, dtype=np.int64)
    for i, row in enumerate(rows):
        if len(row):
            padded[i, : len(row)] = row
        elif end is None:
            padded[i, 0] = UNK
        if end is not None:
            padded[i, len(row)] = end
    if padded.min() < 0:
        raise ValueError(f"ids must be 0 or more, got {padded.min()}")
    return padded, lengths


def _mask(lengths: Tensor, width: int) -> Tensor:
    return torch.arange(width, device=lengths.device)[None, :] < lengths[:, None]
