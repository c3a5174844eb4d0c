"""Batches made ahead are the batches, and the place is that of what was handed out."""

import numpy as np
import pytest
import torch

from dvs2s.data.loader import BucketSampler, Loader
from dvs2s.data.prefetch import Prefetched


class Numbers:
    """Pairs whose message is their number; number 5 may be broken."""

    def __init__(self, *, broken=False):
        self._broken = broken

    def __len__(self):
        return 9

    def message(self, i):
        if self._broken and i == 5:
            raise OSError("no such block")
        return np.full(1 + i % 3, i, dtype=np.int32)

    def response(self, i):
        return np.full(1 + i % 4, i, dtype=np.int32)


def loader(**options):
    lengths = np.array([1 + i % 3 for i in range(9)]), np.array([1 + i % 4 for i in range(9)])
    return Loader(Numbers(**options), BucketSampler(*lengths, batch_size=2, seed=3))


def same(one, other):
    return torch.equal(one.messages, other.messages) and torch.equal(one.index, other.index)


@pytest.mark.parametrize("depth", [0, 1, 4])
def test_same_batches_whatever_waits(depth):
    plain, ahead = loader(), Prefetched(loader(), depth=depth)
    for _ in range(13):
        expected = next(plain)
        assert same(next(ahead), expected)
        assert ahead.state_dict() == plain.state_dict()
    resumed = Prefetched(loader(), depth=depth)
    next(resumed)
    resumed.load_state_dict(ahead.state_dict())
    assert resumed.state_dict() == plain.state_dict()
    for _ in range(7):
        assert same(next(resumed), next(plain))
    ahead.close()
    resumed.close()


def test_a_failed_batch_fails_where_it_is_asked_for():
    ahead, handed_out = Prefetched(loader(broken=True), depth=3), 0
    with pytest.raises(OSError, match="no such block"):
        while True:
            next(ahead)
            handed_out += 1
    assert ahead.state_dict()["position"] == handed_out < 5
    with pytest.raises(ValueError, match="depth must be at least 0, got -1"):
        Prefetched(loader(), depth=-1)
