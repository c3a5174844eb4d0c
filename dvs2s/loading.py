"""From a checkpoint's folder to a responder."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from dvs2s.backends import EngineChoice
from dvs2s.build import model_sizes
from dvs2s.config import TrainConfig
from dvs2s.coverage.calibration import read as read_calibration
from dvs2s.coverage.generic import read as read_generic
from dvs2s.devices import check_device
from dvs2s.engine.engine import Precision
from dvs2s.errors import CheckpointError, ConfigError, VocabularyError
from dvs2s.model import Dvs2sModel
from dvs2s.responder import Responder
from dvs2s.text.vocabulary import Vocabulary
from dvs2s.training.checkpoint import load_tensors, read_config, read_vocabulary, resolve


def load(
    checkpoint: str | Path,
    *,
    device: str = "cpu",
    engine: EngineChoice = "auto",
    precision: Precision = "fp32",
    recalibrate: Sequence[str] = (),
) -> Responder:
    """Returns a responder from a run's folder (its best checkpoint) or a checkpoint's own.

    Sizes and sha256 of all files are checked; nothing in them can execute.

    Args:
        checkpoint: ``runs/smalltalk`` or ``runs/smalltalk/checkpoints/update-00000900``.
        device: ``cpu``, ``cuda``, ``cuda:1``.
        engine, precision: as of ``Responder``.
        recalibrate: of "vocabularies" and "generic", what an earlier calibration stored and is to
            be made anew: its file is not read.

    Raises:
        ConfigError: no such device here.
        CheckpointError: it is missing, damaged, or of another vocabulary than its model.
        ValueError: an engine or a precision that is not to be had here.
    """
    check_device(device)
    folder = resolve(checkpoint, "best")
    config = read_train_config(folder)
    vocabulary = _own_vocabulary(folder)
    model = Dvs2sModel(model_sizes(config.model, vocabulary))
    try:
        model.load_state_dict(load_tensors(folder, "model"), strict=True)
    except RuntimeError as error:
        raise CheckpointError(
            f"{folder}: the weights do not fit the configuration and vocabulary beside them "
            f"({len(vocabulary)} words): it is mixed from two runs. {_first_mismatch(error)}"
        ) from error
    return Responder(
        model,
        vocabulary,
        config,
        device=device,
        source=folder,
        calibration=None if "vocabularies" in recalibrate else read_calibration(folder),
        generic=None if "generic" in recalibrate else read_generic(folder),
        engine=engine,
        precision=precision,
    )


def read_train_config(folder: Path) -> TrainConfig:
    """Returns the configuration that a checkpoint was trained with.

    Raises:
        CheckpointError: it is missing, damaged or of another version.
    """
    return train_config(_entry(folder, "train"), str(folder / "config.json"))


def train_config(values: dict[str, Any], source: str) -> TrainConfig:
    """Returns a configuration from plain JSON types.

    Raises:
        CheckpointError: an option this version does not know, or a value out of range.
    """
    try:
        merged = OmegaConf.merge(OmegaConf.structured(TrainConfig), values)
        config = OmegaConf.to_object(merged)
    except (OmegaConfBaseException, ConfigError) as error:
        reason = str(error).splitlines()[0]
        raise CheckpointError(f"{source} does not fit this version: {reason}") from error
    assert isinstance(config, TrainConfig)
    return config


def _own_vocabulary(folder: Path) -> Vocabulary:
    """Returns the checkpoint's vocabulary; one of another run, even of equal size, is refused."""
    read_vocabulary(folder)  # compares the checksum, so that damage is named as such
    path = folder / "vocabulary.json"
    try:
        vocabulary = Vocabulary.load(path)
    except VocabularyError as error:
        raise CheckpointError(str(error)) from error
    if vocabulary.fingerprint != _entry(folder, "fingerprints").get("vocabulary"):
        raise CheckpointError(
            f"{path} is not the vocabulary that the model was trained with: its fingerprint is "
            f"not that in config.json"
        )
    return vocabulary


def _entry(folder: Path, name: str) -> dict[str, Any]:
    value = read_config(folder).get(name)
    if not isinstance(value, dict):
        raise CheckpointError(f"{folder / 'config.json'} is damaged: it lacks {name!r}")
    return value


def _first_mismatch(error: RuntimeError) -> str:
    lines = [line.strip() for line in str(error).splitlines() if "size mismatch" in line]
    return lines[0] if lines else str(error).splitlines()[-1].strip()
