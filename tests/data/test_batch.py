"""Padding, masks and special cases of a batch."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dvs2s.data.batch import make_batch
from dvs2s.text.specials import EOS, PAD, UNK

rows = st.lists(st.integers(5, 99), max_size=6)


@given(st.lists(st.tuples(rows, rows), min_size=1, max_size=5))
def test_batch_holds_the_rows(pairs: list[tuple[list[int], list[int]]]) -> None:
    messages = [np.array(m, dtype=np.int32) for m, _ in pairs]
    responses = [np.array(r, dtype=np.int32) for _, r in pairs]
    batch = make_batch(messages, responses, range(len(pairs)))
    assert len(batch) == len(pairs)
    for i, (message, response) in enumerate(pairs):
        assert batch.messages[i][batch.message_mask[i]].tolist() == (message or [UNK])
        assert batch.responses[i][batch.response_mask[i]].tolist() == [*response, EOS]
    assert (batch.messages[~batch.message_mask] == PAD).all()
    assert (batch.responses[~batch.response_mask] == PAD).all()
    assert batch.message_mask.any(dim=0).all() and batch.response_mask.any(dim=0).all()
    assert batch.num_tokens == sum(len(r) + 1 for _, r in pairs)
    for tensor in (batch.messages, batch.message_lengths, batch.responses, batch.index):
        assert tensor.dtype == torch.int64


def test_messages_alone() -> None:
    batch = make_batch([np.array([7, 8])], None, [3])
    assert batch.responses.shape == (1, 0)
    assert batch.response_lengths.tolist() == [0]
    assert batch.response_mask.shape == (1, 0)
    assert (batch.num_tokens, batch.index.tolist()) == (0, [3])


def test_moving_keeps_everything() -> None:
    batch = make_batch([np.array([7, 8])], [np.array([9])], [3])
    moved = batch.to("meta")
    assert moved.messages.device.type == "meta" and moved.index.device.type == "meta"
    assert moved.num_tokens == 2


@pytest.mark.parametrize(
    ("messages", "responses", "index", "message"),
    [
        ([], [], [], "messages must hold at least one"),
        ([[1]], [], [0], "responses must hold 1 arrays"),
        ([[1]], [[1]], [0, 1], "index must hold 1 numbers"),
        ([[-1]], [[1]], [0], "ids must be 0 or more, got -1"),
    ],
)
def test_bad_rows_are_refused(
    messages: list[list[int]], responses: list[list[int]], index: list[int], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        make_batch([np.array(m) for m in messages], [np.array(r) for r in responses], index)
