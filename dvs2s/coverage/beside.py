"""Files beside a checkpoint's weights that belong to these weights and no others."""

import hashlib
from pathlib import Path
from typing import Any

from dvs2s.errors import CheckpointError
from dvs2s.training import files
from dvs2s.training.manifest import members

FORMAT = 1


def write_beside(folder: Path, name: str, content: dict[str, Any]) -> Path:
    """Writes a file in one step, with checksums of itself and of the weights; returns it.

    Args:
        folder: the checkpoint's own.
        name: of the file; replaced where it is there.
        content: plain JSON types.

    Raises:
        CheckpointError: it cannot be written.
    """
    sealed = content | {"format": FORMAT, "weights": _weights(folder)}
    sealed["sha256"] = _digest(sealed, name)
    path = folder / name
    try:
        files.replace_file(path, files.to_json(sealed, name))
    except OSError as error:
        raise CheckpointError(f"cannot write {path}: {error.strerror or error}") from error
    return path


def read_beside(folder: Path, name: str) -> dict[str, Any] | None:
    """Returns the content of a file, None where there is none.

    Raises:
        CheckpointError: it is damaged, or belongs to other weights.
    """
    path = folder / name
    if not path.exists():
        return None
    try:
        content = files.parse_json(path.read_bytes(), path)
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror}") from error
    stated = content.pop("sha256", None)
    if content.get("format") != FORMAT or stated != _digest(content, name):
        raise CheckpointError(
            f"{path} is damaged: its sha256 is not that of its content; make it again, or remove it"
        )
    if content["weights"] != _weights(folder):
        raise CheckpointError(
            f"{path} was made for other weights than those beside it; make it again, or remove it"
        )
    return content


def _weights(folder: Path) -> str:
    """Returns the checksum of a checkpoint's weights."""
    return str(members(folder).get("model.safetensors", {}).get("sha256"))


def _digest(content: dict[str, Any], name: str) -> str:
    return hashlib.sha256(files.to_json(content, name)).hexdigest()
