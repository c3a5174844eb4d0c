"""Named tensors as safetensors bytes, tied tensors included."""

import json
from collections.abc import Mapping
from pathlib import Path

import safetensors.torch
from safetensors import SafetensorError
from torch import Tensor

from dvs2s.errors import CheckpointError

# One metadata key only: the format does not fix the order of several, and the same tensors
# shall always give the same bytes.
_TIES = "ties"


def encode(tensors: Mapping[str, Tensor]) -> bytes:
    """Returns the tensors in the safetensors format.

    Names of one and the same tensor (tied weights) are stored once; tensors that overlap in
    another way are stored each on its own.

    Args:
        tensors: any dtype and device, any strides.
    """
    kept: dict[str, Tensor] = {}
    ties: dict[str, str] = {}
    first_by_place: dict[tuple[object, ...], str] = {}
    storages: set[tuple[object, int]] = set()
    for name, tensor in tensors.items():
        place = _place(tensor)
        if tensor.numel() and place in first_by_place:
            ties[name] = first_by_place[place]
            continue
        first_by_place[place] = name
        storage = (tensor.device, tensor.untyped_storage().data_ptr())
        plain = tensor.detach().cpu().contiguous()
        kept[name] = plain.clone() if storage in storages else plain
        storages.add(storage)
    metadata = {_TIES: json.dumps(ties, sort_keys=True)}
    return bytes(safetensors.torch.save(kept, metadata))


def decode(data: bytes, path: Path) -> dict[str, Tensor]:
    """Returns the tensors on the CPU; names that were tied share one tensor.

    Args:
        data: what ``encode`` returned, or any safetensors file without ties.
        path: the file, for the error.

    Raises:
        CheckpointError: the bytes are no safetensors file.
    """
    try:
        tensors: dict[str, Tensor] = safetensors.torch.load(data)
        length = int.from_bytes(data[:8], "little")
        metadata = json.loads(data[8 : 8 + length]).get("__metadata__", {})
        for name, first in json.loads(metadata.get(_TIES, "{}")).items():
            tensors[name] = tensors[first]
    except (SafetensorError, ValueError, KeyError, AttributeError) as error:
        raise CheckpointError(f"{path} is damaged: no safetensors file ({error})") from error
    return tensors


def _place(tensor: Tensor) -> tuple[object, ...]:
    return (
        tensor.device,
        tensor.data_ptr(),
        tensor.dtype,
        tuple(tensor.shape),
        tensor.stride(),
    )
