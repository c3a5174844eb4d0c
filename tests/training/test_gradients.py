"""Gradients kept as rows make the update that dense ones make."""

from dataclasses import dataclass

import pytest
import torch
from torch import Tensor, nn

from dvs2s.objectives.terms import LossTerms
from dvs2s.training.schedule import adadelta, adamw
from dvs2s.training.update import run_update


@dataclass(frozen=True)
class Words:
    ids: Tensor
    index: Tensor

    @property
    def num_tokens(self):
        return self.ids.numel()

    def to(self, device):
        return self


class Lookups(nn.Module):
    """A table that is read twice, one that is read once, one that nobody reads, a matrix."""

    def __init__(self):
        super().__init__()
        self.twice, self.once = nn.Embedding(11, 3), nn.Embedding(11, 3)
        self.never, self.matrix = nn.Embedding(4, 2), nn.Linear(3, 1)
        self.poison = 1.0

    def forward(self, batch):
        read = self.twice(batch.ids) * self.once(batch.ids + 1) + self.twice(batch.ids // 2)
        loss = (self.matrix(torch.tanh(read)) * self.poison).pow(2).mean()
        return LossTerms(loss, batch.num_tokens)


def batches():
    generator = torch.Generator().manual_seed(2)
    return [Words(torch.randint(0, 9, (5,), generator=generator), torch.arange(5)) for _ in "abcd"]


@pytest.mark.parametrize("clip_norm", [0.0, 0.1, 1e3])
@pytest.mark.parametrize("optimizer", [adamw, adadelta])
def test_equal_to_dense_gradients(optimizer, clip_norm):
    torch.manual_seed(0)
    rows, dense = Lookups(), Lookups()
    dense.load_state_dict(rows.state_dict())
    one, other = optimizer(rows.parameters(), lr=0.3), optimizer(dense.parameters(), lr=0.3)
    for batch in batches():
        done = run_update(rows, [batch], optimizer=one, lr=0.3, clip_norm=clip_norm)
        assert rows.twice.weight.grad.is_sparse and not rows.twice.sparse
        assert rows.never.weight.grad is None
        other.zero_grad()
        dense(batch).total.backward()
        norm = nn.utils.clip_grad_norm_(dense.parameters(), clip_norm or 1e9)
        other.step()
        assert done.gradient_norm == pytest.approx(float(norm), rel=1e-6)
    for name, parameter in dense.named_parameters():
        torch.testing.assert_close(rows.get_parameter(name), parameter, rtol=1e-5, atol=1e-7)
    assert set(one.state_dict()["state"]) == set(other.state_dict()["state"])


def test_a_row_that_is_not_finite_is_named_and_changes_nothing():
    torch.manual_seed(0)
    objective = Lookups()
    optimizer = adamw(objective.parameters(), lr=0.3)
    run_update(objective, batches()[:1], optimizer=optimizer, lr=0.3, clip_norm=1.0)
    before = {name: value.clone() for name, value in objective.state_dict().items()}
    objective.once.weight.register_hook(lambda gradient: gradient * float("nan"))
    done = run_update(objective, batches()[1:2], optimizer=optimizer, lr=0.3, clip_norm=1.0)
    assert done.problem == "the gradient of once.weight is not finite"
    assert all(torch.equal(value, before[name]) for name, value in objective.state_dict().items())
