"""A folder of files with their sizes and checksums in manifest.json."""

import hashlib
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dvs2s.errors import CheckpointError
from dvs2s.training import files

MANIFEST = "manifest.json"
FORMAT = 1


def write_members(folder: Path, contents: Mapping[str, bytes]) -> None:
    """Writes a folder of files and their manifest: it is there whole or not at all.

    Args:
        folder: does not exist yet; built under a temporary name beside it, then renamed.
        contents: file name to content.

    Raises:
        OSError: it cannot be written; nothing is left behind.
    """
    manifest = {
        "format": FORMAT,
        "files": {
            name: {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
            for name, data in contents.items()
        },
    }
    temporary = files.temporary_beside(folder)
    try:
        temporary.mkdir()
        for name, data in contents.items():
            files.write_file(temporary / name, data)
        files.write_file(temporary / MANIFEST, files.to_json(manifest, "manifest"))
        files.sync_folder(temporary)
        os.rename(temporary, folder)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    files.sync_folder(folder.parent)


def members(folder: Path) -> dict[str, dict[str, Any]]:
    """Returns {name: {"bytes": size, "sha256": digest}} of the files in ``folder``.

    Raises:
        CheckpointError: the manifest is missing or damaged.
    """
    path = folder / MANIFEST
    try:
        manifest = files.parse_json(path.read_bytes(), path)
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror}") from error
    if manifest.get("format") != FORMAT:
        raise CheckpointError(f"{path} has format {manifest.get('format')}, expected {FORMAT}")
    listed = manifest.get("files")
    if not isinstance(listed, dict) or not all(isinstance(row, dict) for row in listed.values()):
        raise CheckpointError(f'{path} is damaged: "files" lists no files')
    return listed


def read_member(folder: Path, name: str, *, verify: bool) -> bytes:
    """Returns the content of one file.

    Args:
        folder: holds a manifest.
        name: the file's name, listed in the manifest.
        verify: compares size and sha256 with the manifest.

    Raises:
        CheckpointError: names the file and says how it is damaged.
    """
    path = folder / name
    expected = members(folder).get(name)
    if expected is None:
        raise CheckpointError(f"{path} is not listed in the manifest: the checkpoint is damaged")
    try:
        data = path.read_bytes()
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror}") from error
    if not verify:
        return data
    if len(data) != expected.get("bytes"):
        raise CheckpointError(
            f"{path} is damaged: {len(data)} bytes, the manifest says {expected.get('bytes')}"
        )
    if hashlib.sha256(data).hexdigest() != expected.get("sha256"):
        raise CheckpointError(f"{path} is damaged: its sha256 is not that of the manifest")
    return data


def verify_members(folder: Path) -> None:
    """Reads every file of ``folder`` and compares it with the manifest.

    Raises:
        CheckpointError: names the first file that is missing or damaged, and how.
    """
    for name in members(folder):
        read_member(folder, name, verify=True)
