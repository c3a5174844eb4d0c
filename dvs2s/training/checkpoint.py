"""Checkpoints of a run: written whole or not at all, checked when read, nothing that executes.

<run>/checkpoints/
 ├── last.json, best.json       {"folder": "update-00001000"}
 └── update-00001000/
      ├── model.safetensors      tensors of the objective's ``model``, without that prefix
      ├── objective.safetensors  the objective's other tensors, where there are any
      ├── optimizer.safetensors  "<parameter>/<key>"
      ├── state.json             the loop's state and the optimiser's plain options
      ├── config.json
      ├── vocabulary.json
      └── manifest.json          size and sha256 of each file above
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from torch import Tensor
from torch.optim import Optimizer

from dvs2s.errors import CheckpointError
from dvs2s.training import files, optimizer_state, tensors
from dvs2s.training.folders import folder_key, pointed, set_pointer, unused_folder, update_folders
from dvs2s.training.manifest import MANIFEST, members, read_member, verify_members, write_members
from dvs2s.training.optimizer_state import NamedParameters

MODEL_PREFIX = "model."


def save_checkpoint(
    run_dir: Path,
    update: int,
    *,
    objective_state: Mapping[str, Tensor],
    optimizer: Optimizer,
    named_parameters: NamedParameters,
    state: dict[str, Any],
    config: dict[str, Any],
    vocabulary_file: Path | bytes,
    is_best: bool,
    keep: int = 1,
) -> Path:
    """Writes the checkpoint of ``update``, points ``last`` at it and returns its folder.

    A kill at any moment leaves the checkpoints that were there; a checkpoint in place is never
    written over (a second one of the same update becomes "update-00001000-2").

    Args:
        run_dir: the run's folder; made where missing.
        update: updates made so far, 0 or more.
        objective_state: ``objective.state_dict()``; names with the prefix "model." become
            model.safetensors. Without any such name everything does.
        optimizer: its state is stored by parameter name.
        named_parameters: ``objective.named_parameters()``.
        state: plain JSON types, given back by ``read_state``.
        config: plain JSON types, given back by ``read_config``.
        vocabulary_file: vocabulary.json or its content, copied byte for byte.
        is_best: points ``best`` at this checkpoint too.
        keep: how many of the newest stay, 1 or more; last and best always do.

    Raises:
        ValueError: an argument out of range, or a state that is not plain JSON.
        CheckpointError: it cannot be written (disk full, for instance).
    """
    if update < 0:
        raise ValueError(f"update must be 0 or more, got {update}")
    if keep < 1:
        raise ValueError(f"keep must be at least 1, got {keep}: the last one always stays")
    optimizer_tensors, optimizer_plain = optimizer_state.pack(optimizer, named_parameters)
    root = Path(run_dir) / "checkpoints"
    with files.explained(root):
        root.mkdir(parents=True, exist_ok=True)
        folder = unused_folder(root, update)
        best = folder.name if is_best else pointed(root, "best")
        record = {
            "update": update,
            "best": best,
            "keep": keep,
            "state": state,
            "optimizer": optimizer_plain,
        }
        contents = _objective_files(objective_state)
        contents["optimizer.safetensors"] = tensors.encode(optimizer_tensors)
        contents["state.json"] = files.to_json(record, "state")
        contents["config.json"] = files.to_json(config, "config")
        contents["vocabulary.json"] = _vocabulary(vocabulary_file)
        write_members(folder, contents)
        set_pointer(root, "last", folder.name)
        if is_best:
            set_pointer(root, "best", folder.name)
        _retire(root, keep)
    return folder


def prepare_run(run_dir: Path) -> Path | None:
    """Tidies a run's folder after a kill and returns its last checkpoint, None for a new run.

    Does what the killed process could not finish: removes half-written files, takes up a
    checkpoint that was whole but not yet pointed at, sets ``best`` to what the last checkpoint
    says, and retires older ones. Call it with the run's lock held. To go back to an older
    checkpoint, remove the newer folders and last.json.

    Raises:
        CheckpointError: a finished checkpoint is damaged, or a pointer is.
    """
    root = Path(run_dir) / "checkpoints"
    root.mkdir(parents=True, exist_ok=True)
    files.sweep(Path(run_dir))
    files.sweep(root)
    folders = update_folders(root)
    if not folders:
        return None
    newest = folders[-1]
    last = pointed(root, "last")
    if last is None or folder_key(last) < folder_key(newest.name):
        verify_members(newest)
        set_pointer(root, "last", newest.name)
        last = newest.name
    record = _record(root / last, verify=True)
    if record["best"] is not None and record["best"] != pointed(root, "best"):
        set_pointer(root, "best", record["best"])
    _retire(root, record["keep"])
    return root / last


def resolve(path: Path | str, which: Literal["last", "best"] = "best") -> Path:
    """Returns the folder of a checkpoint.

    Args:
        path: a run's folder, its folder ``checkpoints``, or a checkpoint's own folder.
        which: "last" or "best" of the run; plays no part for a checkpoint's own folder.

    Raises:
        ValueError: an unknown ``which``.
        CheckpointError: there is none; the message lists what was found instead.
    """
    if which not in ("last", "best"):
        raise ValueError(f'which must be "last" or "best", got {which!r}')
    path = Path(path)
    if (path / MANIFEST).is_file():
        return path
    root = path / "checkpoints" if (path / "checkpoints").is_dir() else path
    name = pointed(root, which) if root.is_dir() else None
    if name is None:
        raise CheckpointError(
            f"no {which} checkpoint in {path}: {_found(root)}; "
            "name a run folder, its checkpoints folder or one checkpoint"
        )
    folder = root / name
    if not (folder / MANIFEST).is_file():
        raise CheckpointError(f"{which}.json points at {folder}, which is no checkpoint")
    return folder


def load_tensors(
    folder: Path, part: Literal["model", "objective"] = "model", *, verify: bool = True
) -> dict[str, Tensor]:
    """Returns tensors by name, on the CPU.

    Args:
        folder: a checkpoint's folder, as ``resolve`` returns.
        part: "model" gives what serving needs, under the model's own names; "objective" the
            whole ``objective_state`` that was saved.
        verify: compares size and sha256 with the manifest.

    Raises:
        ValueError: an unknown ``part``.
        CheckpointError: a file is missing or damaged.
    """
    model_file = folder / "model.safetensors"
    model = tensors.decode(read_member(folder, model_file.name, verify=verify), model_file)
    if part == "model":
        return model
    if part != "objective":
        raise ValueError(f'part must be "model" or "objective", got {part!r}')
    if "objective.safetensors" not in members(folder):
        return model
    rest_file = folder / "objective.safetensors"
    rest = tensors.decode(read_member(folder, rest_file.name, verify=verify), rest_file)
    return {**{MODEL_PREFIX + name: tensor for name, tensor in model.items()}, **rest}


def load_optimizer(
    folder: Path,
    optimizer: Optimizer,
    named_parameters: NamedParameters,
    *,
    verify: bool = True,
) -> None:
    """Puts the saved state into ``optimizer``.

    Args:
        folder: a checkpoint's folder.
        optimizer: of the type and with the parameters it had when saved.
        named_parameters: ``objective.named_parameters()``.
        verify: compares size and sha256 with the manifest.

    Raises:
        CheckpointError: a file is missing or damaged, or names, shapes or type differ.
    """
    path = folder / "optimizer.safetensors"
    saved = tensors.decode(read_member(folder, path.name, verify=verify), path)
    plain = _record(folder, verify=verify)["optimizer"]
    try:
        optimizer_state.unpack(optimizer, named_parameters, tensors=saved, plain=plain)
    except CheckpointError as error:
        raise CheckpointError(f"{folder}: {error}") from error


def read_state(folder: Path, *, verify: bool = True) -> dict[str, Any]:
    """Returns the ``state`` that was saved.

    Raises:
        CheckpointError: the file is missing or damaged.
    """
    state: dict[str, Any] = _record(folder, verify=verify)["state"]
    return state


def read_config(folder: Path, *, verify: bool = True) -> dict[str, Any]:
    """Returns the ``config`` that was saved.

    Raises:
        CheckpointError: the file is missing or damaged.
    """
    data = read_member(folder, "config.json", verify=verify)
    return files.parse_json(data, folder / "config.json")


def read_vocabulary(folder: Path, *, verify: bool = True) -> bytes:
    """Returns the content of the vocabulary file that was saved.

    Raises:
        CheckpointError: the file is missing or damaged.
    """
    return read_member(folder, "vocabulary.json", verify=verify)


def _objective_files(state: Mapping[str, Tensor]) -> dict[str, bytes]:
    model = {
        name.removeprefix(MODEL_PREFIX): tensor
        for name, tensor in state.items()
        if name.startswith(MODEL_PREFIX)
    }
    if not model:
        return {"model.safetensors": tensors.encode(state)}
    rest = {name: tensor for name, tensor in state.items() if not name.startswith(MODEL_PREFIX)}
    # Written even when empty: its presence says that the prefix was taken off.
    return {
        "model.safetensors": tensors.encode(model),
        "objective.safetensors": tensors.encode(rest),
    }


def _vocabulary(source: Path | bytes) -> bytes:
    return source if isinstance(source, bytes) else Path(source).read_bytes()


def _retire(root: Path, keep: int) -> None:
    stay = {pointed(root, "last"), pointed(root, "best")}
    stay.update(folder.name for folder in update_folders(root)[-keep:])
    for folder in update_folders(root):
        if folder.name not in stay:
            files.remove_folder(folder)


def _record(folder: Path, *, verify: bool) -> dict[str, Any]:
    path = folder / "state.json"
    record = files.parse_json(read_member(folder, path.name, verify=verify), path)
    missing = sorted({"update", "best", "keep", "state", "optimizer"} - set(record))
    if missing:
        raise CheckpointError(f"{path} is damaged: it lacks {', '.join(missing)}")
    return record


def _found(root: Path) -> str:
    if not root.is_dir():
        return "there is no such folder" if not root.exists() else "it is a file"
    names = sorted(path.name for path in root.iterdir())
    listed = ", ".join(names[:12]) + (" ..." if len(names) > 12 else "")
    return f"found {listed}" if names else "the folder is empty"
