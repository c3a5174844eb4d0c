"""Times, studies, tuning and tables on inputs that can be checked by eye."""

import csv
import io
from dataclasses import replace

import numpy as np
import pytest

from dvs2s.answer import AdmittedWords, Answer, Reply
from dvs2s.decoding.mmi import Candidate
from dvs2s.evaluation.embeddings import WordVectors
from dvs2s.evaluation.resampling import Estimate
from dvs2s.table.measure import Yardstick
from dvs2s.table.plots import SHOWN, check_matplotlib, plots
from dvs2s.table.render import to_csv, to_markdown
from dvs2s.table.result import Result
from dvs2s.table.studies import variants
from dvs2s.table.timing import Times, time_rows
from dvs2s.table.trained import Trained
from dvs2s.table.tuning import tune


class Clockwork:
    """A row whose answers take a known time, on a clock that only they move."""

    now = 0.0

    def __init__(self, seconds):
        self.seconds, self.calls = seconds, 0

    def answers(self, messages, seeds):
        self.calls += 1
        Clockwork.now += self.seconds * (100 if self.calls == 1 else 1)  # a slow start
        return []


def test_times_are_medians_of_interleaved_rounds_without_the_first():
    rows = {"plain": Clockwork(0.2), "fast": Clockwork(0.05)}
    times = time_rows(rows, [[1], [2]], baseline="plain", rounds=3, clock=lambda: Clockwork.now)
    assert times["fast"].milliseconds == pytest.approx(50)
    assert times["fast"].ratio == pytest.approx(0.25) and times["plain"].ratio == 1
    assert times["plain"].low == pytest.approx(times["plain"].high) == pytest.approx(200)
    assert [row.calls for row in rows.values()] == [8, 8]
    for arguments, message in (
        (([], "plain", 3), "messages and rounds must be at least 1, got 0 and 3"),
        (([[1]], "none", 3), "baseline must be one of plain, fast, got 'none'"),
    ):
        messages, baseline, rounds = arguments
        with pytest.raises(ValueError, match=message):
            time_rows(rows, messages, baseline=baseline, rounds=rounds)


def test_studies_vary_one_thing():
    sizes = variants("size", [300, 500])
    assert {row.point.series for row in sizes} == {"frequency", "lexical", "S-DVS2S", "DVS2S"}
    assert {(row.search["size"], row.point.x) for row in sizes} == {(300, 300), (500, 500)}
    assert {row.search["alpha"] for row in sizes} == {0.0}
    shared = {row.model: row.overrides for row in [*sizes, *variants("alpha", [0.5])]}
    assert shared["DVS2S"] == ("objective=dvs2s",)  # one training serves both studies
    prices = variants("price", [0.003])
    assert prices[0].overrides[-2:] == ("objective.budget=0", "objective.price=0.003")
    assert len({row.model for row in variants("exponent", [0, 0.5, 1])}) == 3
    for arguments, message in (
        (("size", []), "values must not be empty"),
        (("colour", [1]), "kind must be one of size, alpha, exponent, price, got 'colour'"),
    ):
        with pytest.raises(ValueError, match=message):
            variants(*arguments)


def test_weights_are_those_that_put_the_reference_first():
    def answer(*texts):
        replies = [Reply(t, tuple(t.split()), 0.0, 0.0, True) for t in texts]
        return Answer(tuple(replies), AdmittedWords((), 0))

    answers = [answer("i do not know", "a red car")] * 2
    # the right reply is 3 nats less likely and 7 nats better at telling the message
    candidates = [[Candidate(-4.0, -9.0, 4), Candidate(-7.0, -2.0, 4)]] * 2
    weights = tune("bidirectional", answers, candidates, [[["a", "red", "car"]]] * 2)
    assert (weights.partner, weights.length) == (0.5, 0.0)  # 0.25 · 7 < 3 < 0.5 · 7
    with pytest.raises(ValueError, match="answers must not be empty"):
        tune("anti_lm", [], [], [])


def result():
    base = Estimate(2.0, 1.5, 2.5, (1.5, 2.5))
    better = Estimate(3.0, 2.6, 3.5, (2.75, 3.25), difference=1.0, p_value=0.004)
    return Result(
        name="small",
        key="k",
        baseline="S2SA",
        estimates={"BLEU-2": {"S2SA": base, "DVS2S |T|": better}},
        plain={"S2SA": {"mean |T|": 57.0}, "DVS2S |T|": {"mean |T|": 40.0, "T recall": 0.9}},
        times={"S2SA": Times(10.0, 9.0, 12.0, 1.0), "DVS2S |T|": Times(6.0, 5.0, 7.0, 0.61)},
        trained={"S2SA": Trained(2e6, 300, 90.0), "DVS2S |T|": Trained(2.5e6, 300, 120.0)},
        notes={"BLEU": "a recipe"},
        origin={"commit": "abc", "timing": "40 messages, threads 1", "configurations": {"a": 1}},
    )


def test_markdown_and_csv_hold_the_numbers():
    text = to_markdown(result())
    assert "| S2SA | 2.00 [1.50, 2.50] |" in text
    assert "| DVS2S \\|T\\| | 3.00\\* [2.60, 3.50] |" in text
    assert "| DVS2S \\|T\\| | 40 | 0.9 |" in text and "| S2SA | 57 | – |" in text
    assert "| DVS2S \\|T\\| | 6.0 [5.0, 7.0] | 0.610 |" in text
    assert "1.50, 2.50" in text.split("## Seed by seed")[1].split("##")[0]
    assert "Means over 2 seeds" in text and "- BLEU: a recipe" in text
    rows = list(csv.DictReader(io.StringIO(to_csv(result()))))
    better = next(r for r in rows if r["metric"] == "BLEU-2" and r["row"].startswith("DVS2S"))
    assert (better["value"], better["p_value"], better["by_seed"]) == ("3", "0.004", "2.75 3.25")
    assert {r["metric"] for r in rows} >= {"mean |T|", "time ratio", "ms a reply"}
    assert (
        "| DVS2S \\|T\\| | 2.50 | 300 | 2.0 |" in text
        and "## Time (40 messages, threads 1)" in text
    )
    cost = next(r for r in rows if r["metric"] == "training seconds" and r["row"] == "S2SA")
    assert cost["value"] == "90"
    assert result().value("S2SA", "ms a reply") == 10.0 and result().value("S2SA", "no") is None


def test_rows_of_fewer_seeds_are_named():
    whole = result()
    alone = replace(whole.estimates["BLEU-2"]["DVS2S |T|"], by_seed=(3.0,))
    fewer = {"BLEU-2": {**whole.estimates["BLEU-2"], "DVS2S |T|": alone}}
    text = to_markdown(replace(whole, estimates=fewer))
    assert (
        "Means over 2 seeds; intervals cover messages and seeds. **Fewer seeds: DVS2S |T| 1.**"
        in text
    )
    assert "With one seed the intervals cover the choice of messages" in text
    assert "| DVS2S \\|T\\| | 3.00 |" in text.split("## Seed by seed")[1]
    single = {m: {r: replace(e, by_seed=(e.value,)) for r, e in rows.items()}
              for m, rows in whole.estimates.items()}  # fmt: skip
    text = to_markdown(replace(whole, estimates=single))
    assert "One seed: the intervals cover" in text and "Seed by seed" not in text
    assert "\\* differs from S2SA, p < 0.05 (paired bootstrap over messages and seeds" in text


def test_chinese_is_measured_in_words_and_in_characters():
    said, wanted = [["我们", "喜欢", "吃", "苹果"]], [[["我", "喜欢", "吃苹果", "!"]]]
    vectors = WordVectors(["我们"], np.ones((1, 2)), "x")
    chinese = Yardstick(wanted, vectors, {"我们": 1}, frozenset())
    ones = np.ones((1, 1))
    found = {name: m.values(ones)[0] for name, m in chinese.measures(said).items()}
    assert found["BLEU-1"] == pytest.approx(25.0)  # 喜欢 of four words
    # 我 喜 欢 吃 苹 果 of seven characters against seven tokens
    assert found["BLEU-1 (characters)"] == pytest.approx(100 * 6 / 7)
    assert "BLEU (characters)" in chinese.notes(said)
    english = Yardstick(
        [[["a", "b"]]], WordVectors(["a"], np.ones((1, 2)), "x"), {"a": 1}, frozenset()
    )
    assert not any("characters" in name for name in english.measures([["a"]]))
    assert "BLEU (characters)" not in english.notes([["a"]])


def test_no_two_rows_of_a_picture_look_alike_or_cover_each_other(monkeypatch, tmp_path):
    rows = [f"row {n}" for n in range(14)]
    estimate = Estimate(0.5, 0.4, 0.6, (0.5,))
    many = replace(
        result(),
        baseline=rows[0],
        estimates={metric: dict.fromkeys(rows, estimate) for metric in SHOWN},
        plain={row: {"mean |T|": 40.0 if n % 2 else 73.0} for n, row in enumerate(rows)},
        times={},
    )
    check_matplotlib()
    import matplotlib.axes

    drawn = []
    plain = matplotlib.axes.Axes.errorbar

    def errorbar(self, x, y, **style):
        drawn.append((float(x), style["fmt"], style["color"]))
        return plain(self, x, y, **style)

    monkeypatch.setattr(matplotlib.axes.Axes, "errorbar", errorbar)
    plots(many)["size.png"](tmp_path / "size.png")
    first = drawn[: len(rows)]
    looks = {(fmt, int(color[1:]) % 10) for _, fmt, color in first}
    assert len(looks) == len({round(x, 3) for x, _, _ in first}) == len(rows)
    assert all(abs(x - (40 if n % 2 else 73)) < 5 for n, (x, _, _) in enumerate(first))
