"""Parts of a sweep against what is known: exponents, medians, names, states."""

import itertools
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dvs2s.data.sample import Sample
from dvs2s.errors import CheckpointError, ConfigError, DataError
from dvs2s.sweeps.plan import is_sweep, open_sweep, plan_of
from dvs2s.sweeps.plots import check_matplotlib, parallel_coordinates, scaling_picture
from dvs2s.sweeps.powerlaw import fit_power_law
from dvs2s.sweeps.pruning import MedianRule, curve
from dvs2s.sweeps.scaling import predictions, scaling_markdown, study
from dvs2s.sweeps.status import JobStatus, jobs, read_status, write_status
from dvs2s.sweeps.summary import summarise, to_csv, to_markdown

FLOOR, LAW = 1.7, {"parameters": (0.8, 0.34), "words": (0.5, 0.28), "tokens": (1.1, 0.5)}
GRID = {"parameters": [1e5, 3e5, 1e6, 3e6], "words": [1e4, 3e4, 1e5], "tokens": [1e5, 1e6, 1e7]}
AT = {"parameters": 5e5, "words": 3e4, "tokens": 1e6}


def loss(sizes: dict[str, float]) -> float:
    return FLOOR + sum(a * (sizes[n] / AT[n]) ** -e for n, (a, e) in LAW.items())


def runs() -> list[dict[str, float]]:
    return [dict(zip(GRID, point, strict=True)) for point in itertools.product(*GRID.values())]


def columns(rows: list[dict[str, float]]) -> dict[str, list[float]]:
    return {name: [row[name] for row in rows] for name in GRID}


def test_known_exponents_come_back() -> None:
    rows = runs()
    fit = fit_power_law(columns(rows), [loss(row) for row in rows], resamples=5)
    assert fit.law.floor == pytest.approx(FLOOR, rel=1e-4)
    for name, (_, exponent) in LAW.items():
        value, low, high = fit.exponent(name)
        assert value == pytest.approx(exponent, rel=1e-3)
        assert low <= value * 1.001 and value <= high * 1.001
    bigger = {"parameters": 3e7, "words": 1e6, "tokens": 1e8}
    assert fit.predict(**bigger)[0] == pytest.approx(loss(bigger), rel=1e-4)
    assert fit.residual < 1e-6


def test_intervals_hold_the_truth_under_noise() -> None:
    rows, rng = runs(), np.random.default_rng(3)
    noisy = [loss(row) * math.exp(rng.normal(0, 0.004)) for row in rows]
    fit = fit_power_law(columns(rows), noisy, resamples=60)
    for name, (_, exponent) in LAW.items():
        _, low, high = fit.exponent(name)
        assert low < exponent < high and high - low > 1e-3
    beyond = {name: 3 * values[-1] for name, values in GRID.items()}
    _, low, high = fit.predict(**beyond)
    assert low < loss(beyond) < high
    # one wild run among many moves Huber's fit little
    noisy[5] *= 2
    moved = fit_power_law(columns(rows), noisy, resamples=1)
    assert moved.exponent("tokens")[0] == pytest.approx(fit.exponent("tokens")[0], abs=0.05)


@pytest.mark.parametrize(
    ("sizes", "losses", "reason"),
    [
        ({"n": [1, 2]}, [3.0, 2.0], "3 numbers need as many runs at least, got 2"),
        ({"n": [1, 1, 1, 1]}, [3.0] * 4, "must vary, got 1 in every run"),
        ({"n": [1, 2, 0, 4]}, [3.0] * 4, "finite and above 0"),
        ({"n": [1, 2, 3, 4]}, [3.0, 2.0, -1.0, 1.0], "losses must be finite and above 0"),
        ({"n": [1, 2, 3]}, [3.0] * 4, "must have 4 values each"),
    ],
)
def test_what_cannot_be_fitted_is_named(sizes: Any, losses: Any, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        fit_power_law(sizes, losses, resamples=1)


@pytest.fixture
def study_folder(tmp_path: Path) -> Path:
    for place, row in enumerate(runs()):
        overrides = [f"{name}={value:g}" for name, value in row.items()] + ["optim.lr=0.1"]
        facts = {**row, "compute": 6 * row["parameters"] * row["tokens"]}
        folder = tmp_path / f"job{place}"
        folder.mkdir()
        values = {"loss": loss(row)}
        write_status(folder, JobStatus("finished", overrides, values=values, facts=facts))
    return tmp_path


def test_a_scaling_study_from_its_folder(study_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "failed").mkdir()
    write_status(
        tmp_path / "failed", JobStatus("failed", ["tokens=9", "optim.lr=0.1"], error="no | luck")
    )
    summary = summarise(study_folder)
    assert summary.options == ("parameters", "tokens", "words")
    assert summary.best is not None and summary.best["values"]["loss"] == min(map(loss, runs()))
    scaling = study(summary, resamples=3)
    assert scaling.joint.law.names == tuple(GRID)
    found = {(what, by): value for what, by, value, *_ in predictions(scaling)}
    largest = {name: max(values) for name, values in GRID.items()}
    assert found["nothing", 1.0] == pytest.approx(loss(largest), rel=1e-3)
    twice = {**largest, "words": 2 * largest["words"]}
    assert found["words", 2.0] == pytest.approx(loss(twice), rel=1e-3)
    # the frontier, by a slow twin
    rows = scaling.rows
    front = [r for r in rows if all(o["loss"] > r["loss"] or o["compute"] > r["compute"] or o == r
                                    for o in rows)]  # fmt: skip
    assert sorted(r["loss"] for r in scaling.frontier_rows) == sorted(r["loss"] for r in front)
    assert "| parameters | 0.340 |" in scaling_markdown(scaling)
    check_matplotlib()
    parallel_coordinates(summary, tmp_path / "p.png")
    scaling_picture(scaling, tmp_path / "s.png")
    assert (tmp_path / "s.png").stat().st_size > 10_000
    assert "- `failed`: no | luck" in to_markdown(summary)
    assert to_csv(summary).count("\n") == len(rows) + 2


def test_too_little_for_a_study_is_said(study_folder: Path) -> None:
    for folder, status in jobs(study_folder).items():
        write_status(folder, JobStatus("finished", status.overrides, {"loss": 2.0}, {**AT}))
    with pytest.raises(DataError, match="neither parameters, words, tokens vary in its 36"):
        study(summarise(study_folder), resamples=1)
    with pytest.raises(DataError, match="holds no job of a sweep"):
        summarise(study_folder / "job0" / "none")


def make_curve(run: Path, values: dict[int, float], state: str = "finished") -> None:
    run.mkdir()
    lines = [json.dumps({"update": 1, "train/loss": 9.0})]
    lines += [json.dumps({"update": at, "valid/loss": value}) for at, value in values.items()]
    (run / "metrics.jsonl").write_text("\n".join([*lines, '{"update": 99, "val']))
    write_status(run, JobStatus(state, run=str(run)))


def test_the_median_rule_by_hand(tmp_path: Path) -> None:
    make_curve(tmp_path / "a", {10: 5.0, 20: 4.0})
    make_curve(tmp_path / "b", {10: 4.0, 20: 3.0})
    make_curve(tmp_path / "c", {10: 9.0}, state="pruned")  # no judge: it did not finish
    make_curve(tmp_path / "own", {10: 4.6, 20: 4.2, 30: 1.0}, state="running")
    own = tmp_path / "own"

    def rule(startup: int = 2, warmup: int = 0) -> MedianRule:
        return MedianRule(tmp_path, own, startup=startup, warmup=warmup)

    assert curve(own) == {10: 4.6, 20: 4.2, 30: 1.0}
    assert rule().gives_up(10)  # 4.6 > median(5, 4)
    assert rule().gives_up(20)  # 4.2 > median(4, 3)
    assert not rule(warmup=11).gives_up(10)
    assert not rule(startup=3).gives_up(10)
    assert not rule().gives_up(30)  # nobody else has been there
    assert not MedianRule(tmp_path, tmp_path / "b", startup=1, warmup=0).gives_up(20)
    with pytest.raises(ValueError, match="startup must be at least 1"):
        rule(startup=0)


def test_a_plan_tells_what_is_swept_from_what_is_fixed() -> None:
    arguments = ["-m", "sweep=optuna", "model=small,middle", "data.name=x", "+trainer.seed=0,1"]
    arguments += ["hydra.launcher.n_jobs=2", "trainer.progress=none", "~search"]
    plan = plan_of(arguments)
    assert (plan.preset, plan.swept) == ("optuna", ("model", "trainer.seed"))
    assert plan.fixed == ("data.name=x", "~search")
    more_seeds = [a.replace("0,1", "0,1,2") for a in arguments]
    assert plan_of(more_seeds).folder == plan.folder  # a seed more is the same sweep
    assert plan_of([*arguments, "model.dropout=0.3"]).folder != plan.folder
    assert plan_of(["a=1", "a=1,2"]).swept == ("a",)  # the last one holds
    with pytest.raises(ConfigError, match="one sweep at a time"):
        plan_of(["sweep=optuna,scaling"])
    assert is_sweep(arguments) and is_sweep(["x=1", "--multirun"])
    assert not is_sweep(["x=1"]) and not is_sweep(["-m", "--cfg", "job"])


def test_a_folder_belongs_to_one_sweep(tmp_path: Path) -> None:
    open_sweep(tmp_path, plan_of(["a=1", "b=1,2"]))
    open_sweep(tmp_path, plan_of(["a=1", "b=1,2,3"]))
    with pytest.raises(ConfigError, match="it had a=1 and this command has a=2; give hydra.sweep"):
        open_sweep(tmp_path, plan_of(["a=2", "b=1,2"]))
    with pytest.raises(ConfigError, match="this command has sweep=optuna"):
        open_sweep(tmp_path, plan_of(["a=1", "sweep=optuna"]))
    (tmp_path / "sweep.json").write_text("{")
    with pytest.raises(CheckpointError, match="sweep.json cannot be read"):
        open_sweep(tmp_path, plan_of(["a=1"]))


@pytest.mark.parametrize("damage", ["{", "[]", '{"state": "finished"}'])
def test_a_damaged_status_is_named(tmp_path: Path, damage: str) -> None:
    status = JobStatus("failed", ["a=1"], {"loss": 1.5}, error="why", process=[1, "here"])
    write_status(tmp_path, status)
    assert read_status(tmp_path) == status
    (tmp_path / "status.json").write_text(damage)
    with pytest.raises(CheckpointError, match="status.json .*: remove it to run this job again"):
        read_status(tmp_path)


class Corpus:
    """Pairs whose words tell their number."""

    def __init__(self, size: int) -> None:
        self.message_lengths = np.arange(1, size + 1, dtype=np.int32)
        self.response_lengths = self.message_lengths[::-1].copy()

    def __len__(self) -> int:
        return len(self.message_lengths)

    def message(self, i: int) -> Any:
        return np.array([i], dtype=np.int32)

    def response(self, i: int) -> Any:
        return np.array([i, i], dtype=np.int32)


@settings(max_examples=50, deadline=None)
@given(size=st.integers(1, 60), seed=st.integers(0, 9), data=st.data())
def test_samples_of_a_seed_lie_inside_each_other(size: int, seed: int, data: Any) -> None:
    share = st.floats(0.01, 1.0)
    small, large = sorted((data.draw(share), data.draw(share)))
    inner, outer = (Sample(Corpus(size), f, seed=seed) for f in (small, large))
    assert set(inner.origins) <= set(outer.origins)
    assert len(outer) == max(1, round(large * size)) and list(outer.origins) == sorted(
        outer.origins
    )
    again = Sample(Corpus(size), large, seed=seed)
    assert list(again.origins) == list(outer.origins)
    for i, origin in enumerate(outer.origins):
        assert outer.message(i)[0] == outer.response(i)[1] == origin
        assert outer.message_lengths[i] == origin + 1


def test_seeds_draw_different_samples_and_bad_shares_are_refused() -> None:
    drawn = {tuple(Sample(Corpus(40), 0.5, seed=seed).origins) for seed in range(6)}
    assert len(drawn) == 6
    for fraction in (0.0, 1.01, float("nan")):
        with pytest.raises(ValueError, match="fraction must be above 0 and at most 1"):
            Sample(Corpus(4), fraction, seed=0)
    with pytest.raises(ValueError, match="seed must be 0 or more"):
        Sample(Corpus(4), 0.5, seed=-1)
