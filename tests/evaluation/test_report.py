"""Tables that can be checked by eye."""

import json
import math

import pytest

from dvs2s.evaluation.report import Report, to_markdown, to_text

OURS = Report(
    "dvs2s", 1000, {"BLEU-1": 12.345, "distinct-1": 0.05, "mean length": 5.25}, {"BLEU": "nrefs:1"}
)
THEIRS = Report(
    "我们|s2sa", 1000, {"BLEU-1": 0.5, "unique": 0.000012, "steps": 7}, {"BLEU": "nrefs:1"}
)


def test_text():
    assert to_text([OURS, THEIRS]) == (
        "              dvs2s  我们|s2sa\n"
        "-----------  ------  ---------\n"
        "replies        1000       1000\n"
        "BLEU-1        12.35       0.50\n"
        "distinct-1   0.0500          –\n"
        "mean length    5.25          –\n"
        "unique            –    1.2e-05\n"
        "steps             –          7\n"
        "BLEU: nrefs:1\n"
    )


def test_markdown():
    assert to_markdown([OURS]) == (
        "|             |  dvs2s |\n"
        "| ----------- | -----: |\n"
        "| replies     |   1000 |\n"
        "| BLEU-1      |  12.35 |\n"
        "| distinct-1  | 0.0500 |\n"
        "| mean length |   5.25 |\n"
        "\n"
        "BLEU: nrefs:1\n"
    )
    assert "| 我们\\|s2sa |" in to_markdown([OURS, THEIRS]).splitlines()[0]


def test_differing_numbers_of_replies_and_notes_are_said():
    other = Report("other", 10, {"BLEU-1": 1.0}, {"BLEU": "nrefs:2"})
    assert to_text([OURS, other]).splitlines()[-3:] == [
        "BLEU (dvs2s): nrefs:1",
        "BLEU (other): nrefs:2",
        "Numbers of replies differ: diversity can not be compared.",
    ]


def test_json_holds_everything():
    line = THEIRS.to_json()
    assert "\n" not in line and "我们" in line
    assert Report(**json.loads(line)) == THEIRS


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((" ", 1, {}), "name must not be empty"),
        (("a", -1, {}), "num_replies must be at least 0, got -1"),
        (("a", 1, {"x": math.nan}), "metrics must be finite, got nan for 'x'"),
    ],
)
def test_bad_reports_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        Report(*arguments)


def test_tables_need_reports_with_different_names():
    with pytest.raises(ValueError, match="reports must not be empty"):
        to_text([])
    with pytest.raises(ValueError, match="reports must have different names"):
        to_markdown([OURS, OURS])
