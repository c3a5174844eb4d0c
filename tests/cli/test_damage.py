"""Checkpoints that were cut, changed, mixed or lost: refused, naming the file and the reason."""

import hashlib
import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import dvs2s
from dvs2s.errors import CheckpointError
from dvs2s.text.vocabulary import Vocabulary
from dvs2s.training.checkpoint import resolve

FILES = ("model.safetensors", "config.json", "vocabulary.json")


@pytest.fixture
def folder(own_run: Path) -> Path:
    return resolve(own_run)


def refused(folder: Path, name: str, reason: str) -> None:
    with pytest.raises(CheckpointError, match=reason) as caught:
        dvs2s.load(folder)
    assert str(folder / name) in str(caught.value)


def record(folder: Path, name: str) -> None:
    """Makes the manifest agree with a changed file, as somebody who means well might."""
    manifest = json.loads((folder / "manifest.json").read_bytes())
    data = (folder / name).read_bytes()
    manifest["files"][name] = {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    (folder / "manifest.json").write_text(json.dumps(manifest))


def edit(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    config = json.loads((folder / "config.json").read_bytes())
    change(config)
    (folder / "config.json").write_text(json.dumps(config))
    record(folder, "config.json")


@pytest.mark.parametrize("name", FILES)
def test_cut_in_half(folder: Path, name: str) -> None:
    data = (folder / name).read_bytes()
    (folder / name).write_bytes(data[: len(data) // 2])
    refused(folder, name, f"damaged: {len(data) // 2} bytes, the manifest says {len(data)}")
    record(folder, name)
    refused(folder, name, "damaged")


@pytest.mark.parametrize("name", FILES)
def test_a_flipped_bit(folder: Path, name: str) -> None:
    data = bytearray((folder / name).read_bytes())
    data[len(data) // 2] ^= 1
    (folder / name).write_bytes(data)
    refused(folder, name, "damaged: its sha256")


@pytest.mark.parametrize("name", FILES)
def test_missing(folder: Path, name: str) -> None:
    (folder / name).unlink()
    refused(folder, name, "cannot be read: No such file")


def test_a_damaged_manifest(folder: Path) -> None:
    (folder / "manifest.json").write_text("{")
    refused(folder, "manifest.json", "not JSON")
    (folder / "manifest.json").write_text('{"format": 99}')
    refused(folder, "manifest.json", "format 99")


@pytest.mark.parametrize("number", ["equal", "smaller"])
def test_the_vocabulary_of_another_run(folder: Path, number: str) -> None:
    mine = Vocabulary.load(folder / "vocabulary.json")
    if number == "equal":
        other = replace(mine, words=(*mine.words[:-1], "zebra"))
    else:
        other = replace(mine, words=mine.words[:-1], counts=mine.counts[:-1])
    other.save(folder / "vocabulary.json")
    refused(folder, "vocabulary.json", "damaged: ")
    record(folder, "vocabulary.json")
    refused(folder, "vocabulary.json", "not the vocabulary that the model was trained with")


def test_the_configuration_of_another_run(folder: Path) -> None:
    edit(folder, lambda config: config["train"]["model"].update(hidden_size=16))
    with pytest.raises(CheckpointError, match="do not fit .* mixed from two runs. size mismatch"):
        dvs2s.load(folder)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda c: c["train"]["model"].update(depth=7), "does not fit this version: .*'depth'"),
        (lambda c: c["train"]["model"].update(dropout=3.0), "model.dropout must be .* got 3"),
        (lambda c: c["train"]["model"].update(hidden_size="wide"), "does not fit this .*'wide'"),
        (lambda c: c.pop("train"), "damaged: it lacks 'train'"),
        (lambda c: c.pop("fingerprints"), "damaged: it lacks 'fingerprints'"),
        (lambda c: c.update(train=[]), "damaged: it lacks 'train'"),
    ],
)
def test_a_configuration_that_does_not_fit(
    folder: Path, change: Callable[[dict[str, Any]], object], reason: str
) -> None:
    edit(folder, change)
    refused(folder, "config.json", reason)


def test_no_checkpoint_at_all(tmp_path: Path, own_run: Path) -> None:
    file = tmp_path / "file"
    file.write_text("text")
    for path, reason in (
        (tmp_path / "nowhere", "there is no such folder"),
        (file, "it is a file"),
        (tmp_path, "found file, run"),
    ):
        with pytest.raises(CheckpointError, match=re.escape(str(path)) + f": {reason}"):
            dvs2s.load(path)
    (own_run / "checkpoints" / "best.json").write_text('{"folder": "update-00099999"}')
    with pytest.raises(CheckpointError, match="update-00099999, which is no checkpoint"):
        dvs2s.load(own_run)


def test_a_run_its_folder_and_its_checkpoint_load_alike(run_dir: Path) -> None:
    paths = (run_dir, run_dir / "checkpoints", resolve(run_dir))
    assert len({dvs2s.load(path).source for path in paths}) == 1
