"""The log of a resumed run equals that of an uninterrupted one."""

import json

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from dvs2s.errors import DataError
from dvs2s.training.tracker import Tracker


def fill(run_dir, updates, *, start=0):
    with Tracker(run_dir, update=start) as tracker:
        for update in updates:
            tracker.log(update, {"train/loss": 1.0 / update, "speed/tokens_per_second": 9.0})


def test_lines_beyond_the_checkpoint_are_cut(tmp_path):
    fill(tmp_path / "whole", range(1, 9))
    fill(tmp_path / "resumed", range(1, 7))
    with open(tmp_path / "resumed" / "metrics.jsonl", "ab") as file:
        file.write(b'{"update": 7, "train/lo')
    fill(tmp_path / "resumed", range(5, 9), start=4)
    expected = (tmp_path / "whole" / "metrics.jsonl").read_bytes()
    assert (tmp_path / "resumed" / "metrics.jsonl").read_bytes() == expected
    assert b"speed" not in expected and expected.count(b"\n") == 8


def test_board_has_neither_gap_nor_overlap(tmp_path):
    """R2."""
    fill(tmp_path, range(1, 7))
    fill(tmp_path, range(5, 9), start=4)
    board = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert [event.step for event in board.Scalars("train/loss")] == list(range(1, 9))
    assert len(board.Scalars("speed/tokens_per_second")) == 8


def test_line_of_the_resumed_update_is_not_doubled(tmp_path):
    """Saved before the validation of update 4, resumed, validated, killed, resumed."""
    for _ in range(3):
        with Tracker(tmp_path, update=4) as tracker:
            tracker.log(4, {"valid/loss": 0.5})
    assert (tmp_path / "metrics.jsonl").read_text() == '{"update": 4, "valid/loss": 0.5}\n'


def test_text_and_values_that_are_not_finite(tmp_path):
    with Tracker(tmp_path) as tracker:
        tracker.log(1, {"valid/loss": float("nan")}, {"skipped": "größer\n"})
    row = json.loads((tmp_path / "metrics.jsonl").read_text())
    assert row == {"update": 1, "valid/loss": None, "text": {"skipped": "größer\n"}}


def test_foreign_file_is_refused(tmp_path):
    (tmp_path / "metrics.jsonl").write_text('{"update": 1}\nhello\n')
    with pytest.raises(DataError, match=r"metrics\.jsonl line 2"):
        Tracker(tmp_path)
    with pytest.raises(ValueError, match="update must be 0 or more"):
        Tracker(tmp_path / "other", update=-1)
