"""The decoding benchmark runs in a second, and its figures are what they say they are."""

import json
from pathlib import Path

import pytest

from dvs2s.bench.decoding import Run, run_decoding
from dvs2s.bench.floor import Rates, floor_seconds
from dvs2s.bench.presets import PAPER_SIZES, PRESETS, TINY_SIZES, Setting
from dvs2s.bench.rows import REPLY_WORDS, as_table, ratios
from dvs2s.bench.timing import Timed, interleave
from dvs2s.cli import bench
from dvs2s.cli.configs import BenchConfig
from dvs2s.engine.engine import why_unavailable
from dvs2s.errors import DataError


def test_a_smoke_run_fills_every_row(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "new" / "bench.json"
    bench.main(BenchConfig(preset="smoke", threads=1, out=str(out)))
    written = json.loads(out.read_text())
    preset = PRESETS["smoke"]
    here = [c for c in preset.contenders if not why_unavailable() or c[0].startswith(("pl", "to"))]
    assert len(written["rows"]) == len(here) * len(preset.settings)
    printed, page = capsys.readouterr().out, out.with_suffix(".md").read_text()
    for row in written["rows"]:
        assert row["name"] in printed
        words = row["setting"]["batch"] * REPLY_WORDS
        assert row["words_per_second"] * row["ms"] == pytest.approx(1e3 * words)
        assert row["ms"] <= row["p99"]
        assert row["floor_ms"] is None or row["floor_ms"] > 0
        assert f"| {row['name']} | {row['vocabulary']} | {row['ms']:.2f} |" in page
    first = written["rows"][0]
    assert first["times_faster"] == 1 and first["agreement"] == 1
    assert {"processor", "load_average", "read_gb_per_second"} <= written["machine"].keys()


def test_a_bad_out_is_refused_before_anything_is_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bench, "run_decoding", lambda *_: pytest.fail("it was measured"))
    with pytest.raises(DataError, match="cannot write out="):
        bench.main(BenchConfig(preset="smoke", threads=1, out=str(tmp_path)))


def test_float32_rows_agree_with_the_plain_search() -> None:
    rows, missing, _ = run_decoding(PRESETS["smoke"], Run(threads=1, rounds=1, seed=1))
    assert as_table(rows, missing).count("\n\n") == len(PRESETS["smoke"].settings) - 1
    for row in rows:
        if row.name in ("engine fp32", "torch fp32, plain search"):
            assert row.agreement == 1


def test_ratios_are_of_one_program_at_one_task() -> None:
    rows, _, _ = run_decoding(PRESETS["smoke"], Run(threads=1, rounds=1))
    times = {(row.setting, row.name, row.vocabulary): row.ms for row in rows}
    found = ratios(rows)
    both = ["torch fp32, plain search"] + ([] if why_unavailable() else ["engine int8"])
    assert sorted(name for _, name, _ in found) == sorted(both * len(PRESETS["smoke"].settings))
    for setting, name, ratio in found:
        assert ratio == times[setting, name, "dynamic"] / times[setting, name, "full"]


def test_the_floor_is_the_longer_of_reading_and_multiplying() -> None:
    """By hand: S = 2, L = 3, E = 12, H = 16, |T| = 60, full V = 300, one byte a weight."""
    setting = Setting(300, 60, 1, 2)
    outer, final, turn = 4 * 16 * 44, 16 * 44, 3 * 16 * 16
    cell, rows = 4 * 16 * 16, 300 * 16
    all_of_it = outer + final + turn + cell + rows
    reading = Rates(reading=((1, 2.0), (all_of_it, 1.0)), products={"int8": 1e12})
    seconds = floor_seconds(
        TINY_SIZES, setting, reading, precision="int8", dynamic=False, words_in=2, words_out=3
    )
    assert seconds == pytest.approx(all_of_it + (turn * 3 + cell * 2 + rows * 2) / 2)
    counting = Rates(reading=((1, 1e12),), products={"int8": 1.0})
    seconds = floor_seconds(
        TINY_SIZES, setting, counting, precision="int8", dynamic=False, words_in=2, words_out=3
    )
    assert seconds == pytest.approx(outer * 2 + final + turn * 4 + cell * 3 + rows * (1 + 2 + 2))
    fewer = [
        floor_seconds(
            PAPER_SIZES, Setting(30_000, words, 1, 20), reading, precision="int8", dynamic=True,
            words_in=15, words_out=15,
        )
        for words in (5_000, 1_000)
    ]  # fmt: skip
    assert fewer[1] < fewer[0]


def test_a_block_is_read_at_the_best_rate_of_no_smaller_one() -> None:
    rates = Rates(reading=((10, 8.0), (20, 4.0), (40, 5.0), (80, 1.0)), products={})
    assert [rates.reads(amount) for amount in (5, 10, 19, 20, 40, 79, 80, 1e9)] == [
        8.0, 8.0, 8.0, 5.0, 5.0, 5.0, 1.0, 1.0,
    ]  # fmt: skip


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
