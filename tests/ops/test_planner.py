"""The cost model's laws, its cache file, and the forced routes."""

from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dvs2s.ops import planner
from dvs2s.ops.planner import Constants, Shape

shapes = st.builds(
    Shape,
    batch=st.integers(1, 256),
    rows=st.integers(1, 64),
    words=st.integers(1, 5000),
    vocabulary=st.integers(5000, 300_000),
    width=st.integers(1, 2048),
    element=st.sampled_from([1, 2, 4]),
)


@given(shapes)
def test_a_bigger_vocabulary_costs_only_the_dense_route_in_proportion(shape: Shape) -> None:
    small = planner.estimate(shape, Constants())
    large = planner.estimate(replace(shape, vocabulary=shape.vocabulary * 4), Constants())
    assert large["gather"] >= small["gather"] * 0.999
    assert large["dense"] > small["dense"]
    assert planner.union_size(shape) <= min(shape.vocabulary, shape.batch * shape.words)


def test_the_routes_that_must_win_do() -> None:
    beam = planner.estimate(Shape(1, 20, 1000, 30_000, 1024), Constants())
    assert min(beam, key=beam.__getitem__) == "gather"
    full = planner.estimate(Shape(64, 1, 30_000, 30_000, 1024), Constants())
    assert min(full, key=full.__getitem__) == "dense"
    greedy = planner.estimate(Shape(64, 1, 5000, 256_000, 1024), Constants())
    assert min(greedy, key=greedy.__getitem__) == "union"
    few = planner.estimate(Shape(16, 1, 1000, 256_000, 1024), Constants())
    assert min(few, key=few.__getitem__) == "gather"


def test_constants_survive_the_file_and_damage_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "deep" / "planner.json"
    monkeypatch.setenv("DVS2S_PLANNER", str(path))
    known = replace(Constants(), memory=3.5)
    planner.machine.cache_clear()
    assert planner.machine() == Constants()  # there is no file yet
    assert planner.save(known) == path and planner.machine() == known
    for text in ("", "{}", "[1]", path.read_text().replace("3.5", "-1")):
        path.write_text(text)
        planner.machine.cache_clear()
        assert planner.machine() == Constants()
        assert "not usable" in caplog.text
        caplog.clear()
    planner.machine.cache_clear()


def test_every_constant_is_checked() -> None:
    values = asdict(Constants())
    assert planner.parse(values) == Constants()
    for name in values:
        with pytest.raises(ValueError, match="positive"):
            planner.parse(values | {name: 0.0})
        with pytest.raises(ValueError, match="wanted exactly"):
            planner.parse({k: v for k, v in values.items() if k != name})


def test_a_route_can_be_forced() -> None:
    tensors = torch.zeros(2, 1, 4), torch.zeros(9, 4), torch.zeros(2, 3).long()
    assert [planner.choose(r, *tensors) for r in ("gather", "union", "dense")] == [0, 1, 2]  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="route must be one of auto"):
        planner.choose("fast", *tensors)  # type: ignore[arg-type]
