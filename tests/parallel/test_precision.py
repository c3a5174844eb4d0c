"""bf16: nearly the same loss and gradients, float32 weights, sums and gradients."""

import numpy as np
import pytest
import torch
from torch import nn

from dvs2s.data.batch import make_batch
from dvs2s.errors import ConfigError
from dvs2s.model import Dvs2sModel, ModelSizes
from dvs2s.objectives.baselines import Baseline
from dvs2s.objectives.bounds import BoundOptions
from dvs2s.objectives.dvs2s import Joint, JointOptions
from dvs2s.objectives.row_price import RowPrice
from dvs2s.objectives.word_loss import Negatives, WordLoss
from dvs2s.parallel.replica import Replica

WORDS = 200


@pytest.mark.parametrize(
    ("pretrain", "bound"),
    [
        (9, BoundOptions()),
        (0, BoundOptions(num_samples=3)),
        (0, BoundOptions(num_samples=3, estimator="local_expectation")),
        (0, BoundOptions("multi_sample", num_samples=3, extra_rate=0.1)),
        (0, BoundOptions("closed_form")),
    ],
)
def test_bf16_is_fp32_up_to_its_digits(pretrain: int, bound: BoundOptions) -> None:
    torch.manual_seed(0)
    model = Dvs2sModel(ModelSizes(WORDS, 20, 24, 32, 24, 24))
    objective = Joint(
        model,
        word_loss=WordLoss(Negatives(), torch.ones(WORDS - 20, dtype=torch.int64)),
        price=RowPrice(budget=60.0),
        baseline=Baseline("leave_one_out"),
        options=JointOptions(pretrain, bound),
    )
    rng = np.random.default_rng(0)
    texts = [[rng.integers(5, WORDS, 6) for _ in range(8)] for _ in range(2)]
    batch = make_batch(*texts, range(8))
    found = {}
    for precision in ("fp32", "bf16"):
        objective.zero_grad()
        torch.manual_seed(1)
        replica = Replica(objective, precision=precision)  # type: ignore[arg-type]
        outputs = replica.backward(batch, 1.0, is_last=True)
        gradients = [p.grad.to_dense() for p in model.parameters() if p.grad is not None]
        assert all(g.dtype == torch.float32 for g in gradients)
        found[precision] = float(outputs[""]), torch.cat([g.flatten() for g in gradients])
    (loss, gradient), (loss_bf16, gradient_bf16) = found["fp32"], found["bf16"]
    assert loss != loss_bf16 == pytest.approx(loss, rel=1e-2)
    assert torch.cosine_similarity(gradient, gradient_bf16, dim=0) > 0.995


def test_other_precisions_are_refused() -> None:
    with pytest.raises(ConfigError, match="precision must be fp32 or bf16, got 'fp16'"):
        Replica(nn.Linear(1, 1), precision="fp16")  # type: ignore[arg-type]
