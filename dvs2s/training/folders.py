"""Names of checkpoint folders and the two pointers at them."""

import re
from pathlib import Path

from dvs2s.errors import CheckpointError
from dvs2s.training import files

_NAME = re.compile(r"update-(\d{8,})(?:-(\d+))?", re.ASCII)


def folder_key(name: str) -> tuple[int, int]:
    """Returns update and revision of a checkpoint folder's name, which sort by age.

    Raises:
        ValueError: no name of a checkpoint folder.
    """
    match = _NAME.fullmatch(name)
    if match is None:
        raise ValueError(f"name must look like update-00001000, got {name!r}")
    return int(match[1]), int(match[2] or 1)


def update_folders(root: Path) -> list[Path]:
    """Returns the checkpoint folders in ``root``, oldest first."""
    folders = [path for path in root.iterdir() if path.is_dir() and _NAME.fullmatch(path.name)]
    return sorted(folders, key=lambda path: folder_key(path.name))


def unused_folder(root: Path, update: int) -> Path:
    """Returns a folder's name for ``update`` that does not exist yet."""
    name = f"update-{update:08d}"
    folder = root / name
    revision = 1
    while folder.exists():
        revision += 1
        folder = root / f"{name}-{revision}"
    return folder


def pointed(root: Path, which: str) -> str | None:
    """Returns the folder's name in <which>.json, None when there is no such file.

    Raises:
        CheckpointError: the pointer is damaged or names something outside ``root``.
    """
    path = root / f"{which}.json"
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror}") from error
    name = files.parse_json(data, path).get("folder")
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise CheckpointError(f"{path} is damaged: it names {name!r}, no checkpoint folder")
    return name


def set_pointer(root: Path, which: str, name: str) -> None:
    """Points <which>.json at the folder ``name``, in one step.

    Raises:
        OSError: it cannot be written; the old pointer is as it was.
    """
    files.replace_file(root / f"{which}.json", files.to_json({"folder": name}, which))
