"""Other people's engines take part where they are installed, and are named where they are not."""

import json
import logging
from pathlib import Path

import pytest
import torch

from dvs2s.bench import decoding
from dvs2s.bench.contenders import Task
from dvs2s.bench.peers import CTranslate2, HuggingFace, RandomTransformer, why_no_peers
from dvs2s.bench.presets import TINY_SIZES, Preset, Setting
from dvs2s.bench.rows import as_json, as_markdown, as_table
from dvs2s.decoding.options import SearchOptions

KINDS = (("plain", "full"), ("huggingface", "full"), ("ctranslate2", "dynamic"))


def test_a_peer_that_is_not_installed_gets_a_line(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(decoding, "why_no_peers", lambda: "not installed (no such module)")
    preset = Preset(TINY_SIZES, (Setting(300, 60, 1, 1),), KINDS, rounds=1)
    with caplog.at_level(logging.INFO, logger="dvs2s"):
        rows, missing, machine = decoding.run_decoding(preset, decoding.Run(threads=1))
    assert [row.name for row in rows] == ["torch fp32, plain search"]
    assert [one.name for one in missing] == ["Hugging Face generate fp32", "CTranslate2 int8"]
    assert caplog.text.count("takes no part: not installed (no such module)") == 2
    for text in (as_table(rows, missing), as_markdown(rows, missing, machine)):
        assert text.count("not installed") == 2
    assert len(json.loads(json.dumps(as_json(rows, missing, machine)))["missing"]) == 2


@pytest.mark.skipif(bool(why_no_peers()), reason="the extra peers is not installed")
@pytest.mark.filterwarnings("ignore")  # other people's
@pytest.mark.parametrize("beam", [1, 3])
def test_peers_give_replies_of_the_length_and_agree(beam: int, tmp_path: Path) -> None:
    torch.manual_seed(0)
    made = RandomTransformer(TINY_SIZES)
    options = SearchOptions(
        kind="greedy" if beam == 1 else "beam", beam=beam, min_length=6, max_length=6
    )
    task = Task(torch.randint(5, 300, (3, 15)), options, 60)
    expected, _ = HuggingFace(made).decode(task)
    contender = CTranslate2(made, "full", 2, 60)
    found, _ = contender.decode(task)
    assert HuggingFace(made).decode(task)[0] == expected  # converting left the model alone
    assert [len(row) for row in found] == [len(row) for row in expected] == [6, 6, 6]
    places = [
        a == b for x, y in zip(found, expected, strict=True) for a, b in zip(x, y, strict=True)
    ]
    assert sum(places) >= 0.5 * len(places)  # int8
    assert "Transformer" in contender.note and "workers" in contender.note
    limited, _ = CTranslate2(made, "dynamic", 1, 60).decode(task)
    allowed = set(range(TINY_SIZES.num_fixed))
    for row, message in zip(limited, task.messages.tolist(), strict=True):
        assert len(set(row) - allowed) <= len(message) * 2
