"""Each operator benchmark runs, says what it must, and refuses kernels that are wrong."""

import json
from pathlib import Path

import pytest
import torch

from dvs2s.bench import operators, output_layer, routes
from dvs2s.bench.timing import STATES, interleaved
from dvs2s.cli import bench
from dvs2s.cli.configs import BenchConfig


def test_calls_take_turns_and_warm_ones_do_not_count() -> None:
    order: list[str] = []
    timings = interleaved(
        {"a": lambda: order.append("a"), "b": lambda: order.append("b")}, repeats=3, warm=1
    )
    assert order == ["a", "b"] * 4
    assert all(
        0 <= t["low"] <= t["median"] <= t["high"] for t in (v.spread() for v in timings.values())
    )
    order.clear()
    interleaved({"a": lambda: order.append("a")}, repeats=2, warm=0, before=STATES["warm"])
    assert order == ["a"] * 8  # each timed call right after three that are not
    with pytest.raises(ValueError, match="rounds must be at least 1"):
        interleaved({"a": list}, repeats=0)


def test_operators_report_error_and_ceiling() -> None:
    report = operators.run("smoke", repeats=1, compiled=False, progress=False)
    ours = [row for row in report["rows"] if row["provider"] == "ours"]
    assert len(ours) == 2 * len(operators.PRESETS["smoke"])
    assert [row["state"] for row in ours[:2]] == ["warm", "cold"]
    assert all(0 <= row["error"] < 1e-3 for row in ours)
    providers = {row["provider"] for row in report["rows"]}
    assert {"torch gather", "torch dense", "torch int8 dense"} <= providers
    text = operators.table(report)
    assert text.count("\n") == len(ours) + 1 and "int8 1x2" in text


def test_wrong_kernels_are_not_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    honest = operators.Operands.ours

    def wrong(self, route="auto", k=20):  # type: ignore[no-untyped-def]
        scores, slots = honest(self, route, k)
        return scores + 0.01, slots

    monkeypatch.setattr(operators.Operands, "ours", wrong)
    with pytest.raises(ValueError, match="not timed"):
        operators.run("smoke", repeats=1, compiled=False, progress=False)


def test_torch_forms_find_the_same_words() -> None:
    operands = operators.Operands(operators.PRESETS["smoke"][0])
    ours, theirs = operands.ours(), operands.torch_gather()
    torch.testing.assert_close(ours[0], theirs[0])
    assert torch.equal(ours[1], theirs[1])


def test_routes_report_the_choice() -> None:
    row, cold = routes.run("smoke", repeats=1, progress=False)["rows"]
    assert (row["state"], cold["state"]) == ("warm", "cold") and row["chosen"] == cold["chosen"]
    assert row["chosen"] in ("gather", "union", "dense") and row["over_best"] >= 1
    assert "chosen" in routes.table({"rows": [row]})


def test_the_output_layer_reports_time_and_memory_of_every_form() -> None:
    report = output_layer.run("smoke", repeats=1)
    assert [row["form"] for row in report["rows"]] == list(output_layer.FORMS)
    assert report["rows"][0]["over_full"] == 1
    assert output_layer.table(report).count("\n") == len(output_layer.FORMS) + 1


@pytest.mark.parametrize("name", ["ops", "routes", "output_layer"])
def test_the_command_prints_a_table_and_writes_its_figures(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "figures.json"
    before = torch.get_num_threads()
    bench.main(BenchConfig(bench=name, preset="smoke", threads=1, rounds=1, out=str(out)))
    torch.set_num_threads(before)
    written = json.loads(out.read_text())
    assert written["preset"] == "smoke" and written["machine"]["torch"] == torch.__version__
    assert out.with_suffix(".png").exists() == (name == "ops")
    assert len(written["rows"]) > 0 and capsys.readouterr().out.startswith("| ")


@pytest.mark.parametrize("module", [operators, routes])
def test_unknown_presets_are_refused(module) -> None:  # type: ignore[no-untyped-def]
    extra = {"compiled": False} if module is operators else {}
    with pytest.raises(ValueError, match="preset must be one of smoke"):
        module.run("huge", repeats=1, progress=False, **extra)
