"""An optimiser's state by parameter name instead of by position.

A position says nothing when the model has changed; a name makes the mistake visible.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from dvs2s.errors import CheckpointError

NamedParameters = Iterable[tuple[str, nn.Parameter]]


def pack(
    optimizer: Optimizer, named_parameters: NamedParameters
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Returns the state's tensors as "<parameter>/<key>" and the rest in plain JSON types.

    Args:
        optimizer: any torch optimiser with per-parameter state.
        named_parameters: covers every parameter of the optimiser.

    Raises:
        ValueError: a parameter of the optimiser has no name.
    """
    names = _names(named_parameters)
    tensors: dict[str, Tensor] = {}
    scalars: dict[str, dict[str, Any]] = {}
    groups: list[dict[str, Any]] = []
    for group in optimizer.param_groups:
        options = {key: _plain(value) for key, value in group.items() if key != "params"}
        members = [_name_of(parameter, names) for parameter in group["params"]]
        groups.append({"parameters": members, "options": options})
        for name, parameter in zip(members, group["params"], strict=True):
            for key, value in optimizer.state.get(parameter, {}).items():
                if isinstance(value, Tensor):
                    tensors[f"{name}/{key}"] = value
                else:
                    scalars.setdefault(name, {})[key] = value
    plain = {"type": type(optimizer).__name__, "groups": groups, "scalars": scalars}
    return tensors, plain


def unpack(
    optimizer: Optimizer,
    named_parameters: NamedParameters,
    *,
    tensors: Mapping[str, Tensor],
    plain: Mapping[str, Any],
) -> None:
    """Puts a packed state into ``optimizer``; nothing is changed when it does not fit.

    Args:
        optimizer: of the type and with the groups that were packed.
        named_parameters: covers every parameter of the optimiser.
        tensors: first part of what ``pack`` returned.
        plain: second part of what ``pack`` returned.

    Raises:
        ValueError: a parameter of the optimiser has no name.
        CheckpointError: another optimiser, other parameters or other shapes.
    """
    if plain["type"] != type(optimizer).__name__:
        raise CheckpointError(
            f"the checkpoint holds the state of {plain['type']}, the run uses "
            f"{type(optimizer).__name__}: resume with the optimiser it was started with"
        )
    names = _names(named_parameters)
    groups = optimizer.param_groups
    members = [[_name_of(parameter, names) for parameter in group["params"]] for group in groups]
    saved_members = [group["parameters"] for group in plain["groups"]]
    _check_groups(members, saved_members)
    states = _by_parameter(tensors, plain["scalars"])
    shapes = {name: parameter.shape for parameter, name in names.items()}
    _check_shapes(states, shapes)
    order = {name: index for index, name in enumerate(name for group in members for name in group)}
    optimizer.load_state_dict(
        {
            "state": {order[name]: state for name, state in states.items()},
            "param_groups": _numbered(groups, plain["groups"]),
        }
    )


def _numbered(groups: list[dict[str, Any]], saved: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """torch's own form: parameters counted through, in the order of the running optimiser."""
    numbered = []
    start = 0
    for group, packed in zip(groups, saved, strict=True):
        # JSON has no tuples.
        options = {
            key: tuple(value) if isinstance(value, list) else value
            for key, value in packed["options"].items()
        }
        end = start + len(group["params"])
        numbered.append({**options, "params": list(range(start, end))})
        start = end
    return numbered


def _by_parameter(
    tensors: Mapping[str, Tensor], scalars: Mapping[str, Mapping[str, Any]]
) -> dict[str, dict[str, Any]]:
    states: dict[str, dict[str, Any]] = {}
    for path, tensor in tensors.items():
        name, _, key = path.rpartition("/")
        states.setdefault(name, {})[key] = tensor
    for name, values in scalars.items():
        states.setdefault(name, {}).update(values)
    return states


def _check_groups(members: list[list[str]], saved: list[list[str]]) -> None:
    if len(members) != len(saved):
        raise CheckpointError(
            f"the checkpoint's optimiser has {len(saved)} parameter groups, the run's "
            f"{len(members)}: resume with the configuration it was started with"
        )
    for group, saved_group in zip(members, saved, strict=True):
        missing = sorted(set(group) - set(saved_group))
        unknown = sorted(set(saved_group) - set(group))
        if missing or unknown:
            raise CheckpointError(
                "the checkpoint's optimiser is that of another model: "
                f"it lacks {missing[:8]} and has unknown {unknown[:8]}"
            )


def _check_shapes(
    states: Mapping[str, Mapping[str, Any]], shapes: Mapping[str, torch.Size]
) -> None:
    for name, state in states.items():
        if name not in shapes:
            raise CheckpointError(f"the optimiser's state has an unknown parameter {name!r}")
        for key, value in state.items():
            if isinstance(value, Tensor) and value.ndim and value.shape != shapes[name]:
                raise CheckpointError(
                    f"the optimiser's {key} of {name} has shape {list(value.shape)}, the "
                    f"model's parameter {list(shapes[name])}: the checkpoint is another model's"
                )


def _names(named_parameters: NamedParameters) -> dict[nn.Parameter, str]:
    names: dict[nn.Parameter, str] = {}
    for name, parameter in named_parameters:
        names.setdefault(parameter, name)
    return names


def _name_of(parameter: nn.Parameter, names: Mapping[nn.Parameter, str]) -> str:
    if parameter not in names:
        raise ValueError(
            f"named_parameters lacks a parameter of shape {list(parameter.shape)} that the "
            "optimiser trains: pass the objective's named_parameters()"
        )
    return names[parameter]


def _plain(value: Any) -> Any:
    if isinstance(value, Tensor):
        raise ValueError("an optimiser option is a tensor: pass plain numbers (lr as a float)")
    return list(value) if isinstance(value, tuple) else value
