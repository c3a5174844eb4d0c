"""Generic replies from the command that prices them to the replies that keep to the share."""

import json
import shutil
from pathlib import Path

import pytest
from conftest import Command

from dvs2s.coverage import generic as store
from dvs2s.errors import CheckpointError
from dvs2s.loading import load
from dvs2s.training.checkpoint import resolve


def test_from_the_command_to_the_replies(command: Command, run_dir: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(run_dir, tmp_path / "run"))
    out = tmp_path / "report.json"
    options = [f"checkpoint={run}", "share=[0.2,0.3]", "replies=1", f"out={out}"]
    ran = command("generic", *options)
    assert ran.code == 0, ran.err
    assert "on test, which had no part in the prices" in ran.out
    content = json.loads(out.read_text())
    assert len(content["bound"]["replies"]) == 1
    prices = [price for _, price in content["bound"]["prices"]]
    assert prices[0] is None or prices[1] is None or prices == sorted(prices, reverse=True)
    (words,) = content["bound"]["replies"]
    bot = load(run)
    assert bot.generic is not None
    for share, price in content["bound"]["prices"]:
        if price is None:
            with pytest.raises(ValueError, match="cannot be kept"):
                bot.search_config(generic_share=share)
            continue
        message = "do you have any mubade?"
        answer = bot.reply(message, generic_share=share, num_best=2)
        whole = bot.reply(message, num_best=bot.config.search.beam)
        assert answer.replies == bot.generic.ranked(whole, price, 2).replies
        ran = command("generate", f"checkpoint={run}", f"search.generic_share={share}", "input=-")
        assert ran.code == 0
    assert any(price is not None for price in prices), "nothing was tested"
    with pytest.raises(ValueError, match="calibrated with search.beam=4, got 3"):
        bot.search_config(generic_share=0.3, beam=3)
    folder = resolve(run)
    assert store.read(folder) == bot.generic
    path = folder / store.NAME
    path.write_text(path.read_text().replace(words.split()[0], "other", 1))
    with pytest.raises(CheckpointError, match="generic.json is damaged"):
        load(run)


def test_what_is_refused(command: Command, run_dir: Path) -> None:
    bot = load(run_dir)
    with pytest.raises(ValueError, match="needs prices of generic replies.*dvs2s.cli.generic"):
        bot.reply("hello", generic_share=0.1)
    ran = command("generic", f"checkpoint={run_dir}", "search=greedy")
    assert ran.code == 2 and "search.kind must be a beam, got 'greedy'" in ran.err
