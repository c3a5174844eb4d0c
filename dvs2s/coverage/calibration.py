"""The calibrated levels of a model, and the file beside its checkpoint that holds them."""

import hashlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Literal

from dvs2s.errors import CheckpointError
from dvs2s.training import files
from dvs2s.training.manifest import members

NAME = "calibration.json"
FORMAT = 1

Kind = Literal["all", "share"]


@dataclass(frozen=True)
class Level:
    """What T must be for one guarantee.

    Args:
        alpha: miscoverage, in (0, 1).
        kind: "all": P(every gold word is in T) >= 1 - alpha; "share": E(share of the gold words
            in T) >= 1 - alpha.
        message_words: whether T holds the message's own words besides.
        threshold: of β; None where nothing but the full vocabulary will do.
        size: |T| for the same guarantee; V is the full vocabulary.
    """

    alpha: float
    kind: Kind
    message_words: bool
    threshold: float | None
    size: int


@dataclass(frozen=True)
class Calibration:
    """Levels, and what they were found on.

    Args:
        levels: one for each alpha, kind and use of the message's words.
        split: of the corpus.
        data: its fingerprint.
        pairs: n.
    """

    levels: tuple[Level, ...]
    split: str
    data: str
    pairs: int

    def level(self, alpha: float, kind: str, *, message_words: bool) -> Level:
        """Returns the level of a guarantee.

        Raises:
            ValueError: there is none; names those that there are and the command that makes one.
        """
        for level in self.levels:
            if (level.kind, level.message_words) == (kind, message_words):
                if abs(level.alpha - alpha) < 1e-9:
                    return level
        there = ", ".join(f"{alpha:g}" for alpha in sorted({level.alpha for level in self.levels}))
        raise ValueError(
            f"search.coverage_alpha must be a calibrated one of {there}, got {alpha:g}: run "
            f"python -m dvs2s.cli.calibrate checkpoint=... 'alpha=[{there},{alpha:g}]'"
        )


def write(folder: Path, calibration: Calibration) -> Path:
    """Writes the levels beside a checkpoint's weights, in one step, and returns the file.

    Args:
        folder: the checkpoint's own.
        calibration: replaces what was there.

    Raises:
        CheckpointError: it cannot be written.
    """
    content = asdict(calibration) | {"format": FORMAT, "weights": _weights(folder)}
    content["levels"] = [asdict(level) for level in calibration.levels]
    content["sha256"] = _digest(content)
    path = folder / NAME
    try:
        files.replace_file(path, files.to_json(content, "calibration"))
    except OSError as error:
        raise CheckpointError(f"cannot write {path}: {error.strerror or error}") from error
    return path


def read(folder: Path) -> Calibration | None:
    """Returns the levels of a checkpoint, None where it was not calibrated.

    Raises:
        CheckpointError: the file is damaged, or belongs to other weights.
    """
    path = folder / NAME
    if not path.exists():
        return None
    try:
        content = files.parse_json(path.read_bytes(), path)
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror}") from error
    mend = "run dvs2s.cli.calibrate again, or remove the file"
    stated = content.pop("sha256", None)
    if content.get("format") != FORMAT or stated != _digest(content):
        raise CheckpointError(f"{path} is damaged: its sha256 is not that of its content; {mend}")
    if content["weights"] != _weights(folder):
        raise CheckpointError(f"{path} was made for other weights than those beside it; {mend}")
    return Calibration(
        _levels(content["levels"]), content["split"], content["data"], content["pairs"]
    )


def _levels(rows: Sequence[dict[str, Any]]) -> tuple[Level, ...]:
    names = [f.name for f in fields(Level)]
    return tuple(Level(**{name: row[name] for name in names}) for row in rows)


def _weights(folder: Path) -> str:
    """Returns the checksum of a checkpoint's weights, which fixes β."""
    return str(members(folder).get("model.safetensors", {}).get("sha256"))


def _digest(content: dict[str, Any]) -> str:
    return hashlib.sha256(files.to_json(content, "calibration")).hexdigest()
