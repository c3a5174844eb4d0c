"""The study of estimators on a tiny model: who takes part, and what its numbers are of."""

import math

import pytest
import torch

from dvs2s.bench import estimators
from dvs2s.data.batch import Batch, make_batch
from dvs2s.model import Dvs2sModel, ModelSizes


def batches(count: int) -> list[Batch]:
    generator = torch.Generator().manual_seed(0)

    def words(length: int) -> list[int]:
        return torch.randint(5, 20, (length,), generator=generator).tolist()

    return [
        make_batch([words(3) for _ in range(4)], [words(4) for _ in range(4)], range(4))
        for _ in range(count)
    ]


@pytest.fixture(scope="module")
def report() -> dict:
    torch.manual_seed(0)
    model = Dvs2sModel(ModelSizes(20, 7, 4, 5, 3, 4, dropout=0.3))
    before = [p.clone() for p in model.parameters()]
    report = estimators.run("smoke", model, batches(3), batches(1))
    assert all(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))
    assert all(p.grad is None for p in model.parameters())
    return report


def test_who_takes_part(report: dict) -> None:
    rows = {row["name"]: row for row in report["rows"]}
    assert len(rows) == len(estimators.CONTENDERS)
    assert rows["closed form"]["variance"] == 0  # nothing is drawn
    assert rows[estimators.REFERENCE]["over_running"] == pytest.approx(1)
    assert all(row["seconds"]["median"] > 0 for row in rows.values())
    drawn = [row for name, row in rows.items() if name != "closed form"]
    assert all(row["variance"] > 0 and row["decoder_variance"] > 0 for row in drawn)
    text = estimators.table(report)
    assert all(f"| {name} |" in text for name in rows)


def test_variance_is_that_of_the_draws() -> None:
    """Welford's sums over gradients equal those of torch over the same draws, stacked."""
    torch.manual_seed(0)
    model = Dvs2sModel(ModelSizes(20, 7, 4, 5, 3, 4)).eval()
    held = estimators.Held(model, batches(1)[0])
    bound = estimators._bound(estimators.CONTENDERS[0], model)
    torch.manual_seed(1)
    noise = estimators._noise(held, bound, 6, None)
    torch.manual_seed(1)
    drawn = torch.stack([held.gradient(bound)[0] for _ in range(6)])
    assert noise.words == pytest.approx(float(drawn.var(0).sum()), rel=1e-4)
    torch.testing.assert_close(noise.mean, drawn.mean(0))
    assert math.isnan(noise.cosine)


def test_bad_arguments_are_named() -> None:
    model = Dvs2sModel(ModelSizes(20, 7, 4, 5, 3, 4))
    with pytest.raises(ValueError, match="preset must be one of smoke, quick, full, got 'all'"):
        estimators.run("all", model, batches(1), batches(1))
    with pytest.raises(ValueError, match="at least one batch each"):
        estimators.run("smoke", model, [], batches(1))
