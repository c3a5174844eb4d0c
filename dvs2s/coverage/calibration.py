"""The calibrated levels of a model, and the file beside its checkpoint that holds them."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from dvs2s.coverage.beside import read_beside, write_beside

NAME = "calibration.json"

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

    Raises:
        CheckpointError: it cannot be written.
    """
    levels = [asdict(level) for level in calibration.levels]
    return write_beside(folder, NAME, asdict(calibration) | {"levels": levels})


def read(folder: Path) -> Calibration | None:
    """Returns the levels of a checkpoint, None where it was not calibrated.

    Raises:
        CheckpointError: the file is damaged, or belongs to other weights.
    """
    content = read_beside(folder, NAME)
    if content is None:
        return None
    levels = tuple(Level(**row) for row in content["levels"])
    return Calibration(levels, content["split"], content["data"], content["pairs"])
