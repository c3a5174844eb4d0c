"""Calibrated vocabularies end to end: found, stored, used, and refused where they do not belong."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from conftest import Command

from dvs2s.backends import EngineChoice
from dvs2s.coverage import calibration as store
from dvs2s.engine.engine import why_unavailable
from dvs2s.errors import CheckpointError
from dvs2s.loading import load
from dvs2s.responder import Responder
from dvs2s.training.checkpoint import resolve

ALPHAS = "alpha=[0.1,0.3]"


@pytest.fixture(scope="module")
def calibrated(run_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Path(shutil.copytree(run_dir, tmp_path_factory.mktemp("calibrated") / "run"))


def test_the_command_stores_levels_and_reports_a_split_that_it_never_saw(
    command: Command, calibrated: Path, tmp_path: Path
) -> None:
    out = tmp_path / "report.json"
    ran = command("calibrate", f"checkpoint={calibrated}", ALPHAS, f"out={out}")
    assert ran.code == 0, ran.err
    assert "on test, which had no part in the calibration" in ran.out
    levels = json.loads(out.read_text())["levels"]
    assert {(one["kind"], one["alpha"], one["rule"]) for one in levels} == {
        (kind, alpha, rule)
        for kind in ("all", "share")
        for alpha in (0.1, 0.3)
        for rule in ("threshold", "size")
    }
    for one in levels:  # 24 pairs a split: three standard deviations are 0.28
        assert one["achieved"] >= one["nominal"] - 0.28
        quantiles = list(one["|T| quantiles"].values())
        assert quantiles == sorted(quantiles)
        if one["rule"] == "size":
            assert quantiles[0] == quantiles[-2]


def test_replies_use_the_levels(command: Command, calibrated: Path, tmp_path: Path) -> None:
    assert command("calibrate", f"checkpoint={calibrated}", ALPHAS).code == 0
    bot = load(calibrated, engine="plain")
    level = bot.selector.calibration.level(0.3, "all", message_words=True)  # type: ignore[union-attr]
    given = {"vocabulary": "conformal", "coverage_alpha": 0.3}
    same = {"vocabulary": "threshold", "threshold": level.threshold}
    message = "do you have any mubade?"
    assert bot.reply(message, **given).vocabulary[:] == bot.reply(message, **same).vocabulary[:]
    sized = bot.reply(message, **given, coverage_by="size").vocabulary
    assert len(sized) == max(level.size, bot.vocabulary.num_fixed) - 5
    for arguments in (
        ("generate", "format=text", "input=" + str(_file(tmp_path, message))),
        ("evaluate", "split=test", "limit=4"),
    ):
        search = ["search.vocabulary=conformal", "search.coverage_alpha=0.3"]
        ran = command(arguments[0], f"checkpoint={calibrated}", *arguments[1:], *search)
        assert ran.code == 0 and ran.out, ran.err
    with pytest.raises(ValueError, match="one of 0.1, 0.3, got 0.2: run"):
        bot.search_config(vocabulary="conformal", coverage_alpha=0.2)


@pytest.mark.skipif(bool(why_unavailable()), reason=why_unavailable() or "there")
def test_the_engine_chooses_the_same_words(command: Command, calibrated: Path) -> None:
    assert command("calibrate", f"checkpoint={calibrated}", ALPHAS).code == 0
    engines: tuple[EngineChoice, EngineChoice] = ("plain", "compiled")
    for by in ("threshold", "size"):
        options = {"vocabulary": "conformal", "coverage_alpha": 0.3, "coverage_by": by}
        one, other = (
            load(calibrated, engine=engine).reply("what about the mubabe?", **options)
            for engine in engines
        )
        assert {w.word for w in one.vocabulary} == {w.word for w in other.vocabulary}
        assert one.text == other.text


def _file(folder: Path, text: str) -> Path:
    path = folder / "messages.txt"
    path.write_text(f"{text}\n")
    return path


def test_a_model_that_was_not_calibrated_says_so(bot: Responder, command: Command) -> None:
    with pytest.raises(ValueError, match="needs a calibrated checkpoint.*dvs2s.cli.calibrate"):
        bot.reply("hello", vocabulary="conformal")
    ran = command("calibrate", f"checkpoint={bot.source}", "split=test")
    assert ran.code == 2 and "held-out pairs other than those of the test" in ran.err
    ran = command("calibrate", f"checkpoint={bot.source}", "alpha=1.5")
    assert ran.code == 2 and "alpha must be one or more numbers between 0 and 1" in ran.err


def test_levels_of_other_weights_or_changed_ones_are_refused(own_run: Path, bot: Responder) -> None:
    folder = resolve(own_run)
    level = store.Level(0.1, "all", True, 0.25, 30)
    path = store.write(folder, store.Calibration((level,), "valid", "abc", 24))
    assert store.read(folder) == store.Calibration((level,), "valid", "abc", 24)
    text = path.read_text()
    path.write_text(text.replace("0.25", "0.26"))
    with pytest.raises(CheckpointError, match="calibration.json is damaged"):
        load(own_run)
    path.write_text(text)
    manifest = folder / "manifest.json"
    members = json.loads(manifest.read_text())
    members["files"]["model.safetensors"]["sha256"] = "0" * 64
    manifest.write_text(json.dumps(members))
    with pytest.raises(CheckpointError, match="made for other weights"):
        store.read(folder)
    path.write_text("no JSON")
    with pytest.raises(CheckpointError, match="damaged"):
        store.read(folder)


def test_what_is_measured_is_what_was_counted(calibrated: Path, corpus: Path) -> None:
    """On the calibration pairs themselves T holds as many as the rank of the level says."""
    from dvs2s.coverage.corpus import find_needs, measure
    from dvs2s.coverage.levels import find_levels
    from dvs2s.data.corpus import PreparedData

    bot = load(calibrated, engine="plain", recalibrate=["vocabularies"])
    valid = PreparedData.open(corpus / "prepared").split("valid")
    needs = find_needs(bot, valid)
    levels = find_levels(needs, [0.1, 0.3], vocabulary_size=len(bot.vocabulary))
    bot.selector.calibration = store.Calibration(levels, "valid", "", len(valid))
    for one in measure(bot, valid, levels):
        counted = needs[one.level.message_words]
        at = one.level.threshold if one.rule == "threshold" else one.level.size
        level = -(at or 0.0) if one.rule == "threshold" else float(at or 0)
        missed = counted.of(one.rule) > level
        held = 1 - np.bincount(counted.pair, counted.weights * missed, minlength=counted.pairs)
        assert one.held == pytest.approx(held)
        assert one.coverage >= 1 - one.level.alpha - 1e-9
