"""State that follows batches: parts of an update move it as the whole does."""

import pytest
import torch

from dvs2s.objectives.baselines import Baseline
from dvs2s.objectives.observer import Observer
from dvs2s.objectives.row_price import RowPrice


def in_parts(observer: Observer, parts: list[slice], hear) -> None:  # type: ignore[no-untyped-def]
    """Shows rows part by part between hold and release."""
    observer.hold()
    sums = torch.zeros(2).double()
    for part in parts:
        hear(part)
        sums += observer.held()
    observer.release(sums)


@pytest.mark.parametrize("cuts", [[0, 7], [0, 3, 7], [0, 1, 2, 7]])
def test_parts_move_the_baseline_as_the_whole_does(cuts: list[int]) -> None:
    parts = [slice(a, b) for a, b in zip(cuts, cuts[1:], strict=False)]
    generator = torch.Generator().manual_seed(0)
    whole, split = Baseline("running"), Baseline("running")
    for _ in range(3):
        rewards = torch.randn(7, 4, generator=generator)
        lengths = torch.randint(1, 9, (7,), generator=generator)
        expected = whole(rewards, lengths)
        found: list[torch.Tensor] = []

        def hear(part: slice, rewards=rewards, lengths=lengths, found=found) -> None:  # type: ignore[no-untyped-def]
            found.append(split(rewards[part], lengths[part]))

        in_parts(split, parts, hear)
        torch.testing.assert_close(torch.cat(found), expected)
    torch.testing.assert_close(split.value(), whole.value())


def test_parts_move_the_price_as_the_whole_does() -> None:
    sizes = torch.tensor([40.0, 50.0, 90.0, 20.0, 70.0])
    whole, split = RowPrice(price=0.01, budget=50.0), RowPrice(price=0.01, budget=50.0)
    whole.observe(sizes.mean(), rows=5)
    in_parts(
        split, [slice(0, 1), slice(1, 5)], lambda p: split.observe(sizes[p].mean(), len(sizes[p]))
    )
    assert float(split.price) == pytest.approx(float(whole.price), rel=1e-6) != 0.01
    skipped = RowPrice(price=0.01, budget=50.0)
    skipped.hold()
    skipped.observe(sizes.mean(), rows=5)
    skipped.release(None)  # the update was not made
    assert float(skipped.price) == pytest.approx(0.01)
    with pytest.raises(ValueError, match="call hold first"):
        skipped.held()
