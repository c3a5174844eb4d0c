"""The decoding benchmark runs in a second, and its figures are what they say they are."""

import json
from pathlib import Path

import pytest

from dvs2s.bench.decoding import REPLY_WORDS, as_table, run_decoding
from dvs2s.bench.presets import PRESETS
from dvs2s.bench.timing import Timed, interleave
from dvs2s.cli import bench
from dvs2s.cli.configs import BenchConfig
from dvs2s.engine.engine import why_unavailable


def test_a_smoke_run_fills_every_row(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "bench.json"
    bench.main(BenchConfig(preset="smoke", threads=1, out=str(out)))
    written = json.loads(out.read_text())
    preset = PRESETS["smoke"]
    here = [c for c in preset.contenders if not why_unavailable() or c[0].startswith(("pl", "to"))]
    assert len(written["rows"]) == len(here) * len(preset.settings)
    printed = capsys.readouterr().out
    for row in written["rows"]:
        assert row["name"] in printed
        words = row["setting"]["batch"] * REPLY_WORDS
        assert row["words_per_second"] * row["ms"] == pytest.approx(1e3 * words)
        assert row["ms"] <= row["p99"]
    first = written["rows"][0]
    assert first["times_faster"] == 1 and first["agreement"] == 1
    assert {"processor", "load_average", "read_gb_per_second"} <= written["machine"].keys()


def test_float32_rows_agree_with_the_plain_search() -> None:
    rows, _ = run_decoding(PRESETS["smoke"], threads=1, rounds=1, seed=1)
    assert as_table(rows).count("\n\n") == len(PRESETS["smoke"].settings) - 1
    for row in rows:
        if row.name in ("engine fp32", "torch fp32, plain search"):
            assert row.agreement == 1


def test_every_contender_runs_in_every_round_in_turn() -> None:
    calls: list[tuple[str, int]] = []

    def runner(name: str) -> dict[str, float]:
        return {}

    def run_a(number: int) -> dict[str, float]:
        calls.append(("a", number))
        return {"x": float(number)}

    def run_b(number: int) -> dict[str, float]:
        calls.append(("b", number))
        return runner("b")

    timed = interleave([run_a, run_b], rounds=3, warm_up=1, title="test", clock="cpu")
    assert calls == [(name, number) for number in range(4) for name in "ab"]
    assert timed[0].median_stages() == {"x": 2.0} and timed[1].median_stages() == {}
    with pytest.raises(ValueError, match="rounds must be at least 1, got 0"):
        interleave([run_a], rounds=0, warm_up=0, title="test")


def test_quantiles_lie_between_the_runs() -> None:
    timed = Timed([4.0, 1.0, 3.0, 2.0], [], 0)
    assert [timed.quantile(share) for share in (0.0, 0.5, 1.0)] == [1.0, 2.5, 4.0]
