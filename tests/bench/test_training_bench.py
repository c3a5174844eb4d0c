"""The training benchmark: its slow twin is the same function, its rows are whole."""

import pytest
import torch

from dvs2s.bench import training
from dvs2s.bench.per_sample import PerSampleOutput
from dvs2s.layers.output import Output
from dvs2s.ops import monte_carlo


@pytest.mark.parametrize(("chunk", "gradient_words"), [(0, 31), (0, 7), (7, 31)])
def test_sample_by_sample_has_the_same_losses_and_gradients(
    monkeypatch: pytest.MonkeyPatch, chunk: int, gradient_words: int
) -> None:
    monkeypatch.setattr(monte_carlo, "_GRADIENT_WORDS", gradient_words)
    torch.manual_seed(0)
    fast = Output(6, 31, chunk=chunk).double()
    hidden = torch.randn(3, 4, 6, dtype=torch.float64, requires_grad=True)
    targets = torch.randint(0, 31, (3, 4))
    membership = torch.rand(3, 5, 31) < 0.4
    membership.scatter_(2, targets[:, None].expand(-1, 5, -1), torch.ones(3, 5, 4).bool())
    weights = torch.randn(3, 5, 4, dtype=torch.float64)
    found = []
    for output in (fast, PerSampleOutput(fast)):
        losses = output.losses(hidden, membership, targets)
        leaves = (hidden, fast.projection.weight, fast.projection.bias)
        found.append((losses, *torch.autograd.grad((losses * weights).sum(), leaves)))
    for quick, slow in zip(*found, strict=True):
        torch.testing.assert_close(quick, slow, rtol=1e-9, atol=1e-12)


def test_smoke() -> None:
    report = training.run("smoke", rounds=1)
    rows = {row["objective"]: row for row in report["rows"]}
    assert tuple(rows) == training.CONTENDERS
    assert rows["S2SA"]["times_first"] == rows["S2SA"]["times_first_update"] == 1.0
    assert all(row["process_megabytes"] > 0 for row in rows.values())
    # S2SA trains no word predictor, and no row of the output layer is without a gradient
    sent, whole = rows["S2SA"]["table_bytes"]["output layer"]
    assert set(rows["S2SA"]["table_bytes"]) == {"embedding", "output layer"} and sent > whole
    sent, whole = rows["DVS2S, S = 1"]["table_bytes"]["output layer"]
    assert sent < whole
    text = training.table(report)
    assert all(f"| {name} |" in text for name in training.CONTENDERS)
    with pytest.raises(ValueError, match="preset must be one of smoke, quick, paper, got 'x'"):
        training.run("x")
