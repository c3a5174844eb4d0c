"""One update of the parameters, or none where the numbers are not finite."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol, Self

import torch
from torch import Tensor, nn
from torch.nn.utils import get_total_norm
from torch.optim import Optimizer

from dvs2s.parallel.replica import Replica
from dvs2s.training.gradients import merge_rows, scale_to, step


class Batch(Protocol):
    """What the loop asks of a batch; the objective may ask for more."""

    @property
    def num_tokens(self) -> int:
        """Target tokens; weighs the batch among those of its update."""

    @property
    def index(self) -> Tensor:
        """(B,) int64 numbers of the pairs, to name a batch that failed."""

    def to(self, device: torch.device) -> Self:
        """Returns the batch on ``device``."""


@dataclass(frozen=True)
class UpdateResult:
    """What one update did.

    Args:
        num_tokens: target tokens of its batches.
        loss: nats per token before the update.
        parts: the objective's parts, averaged over its batches by tokens.
        gradient_norm: before clipping.
        problem: why the update was skipped, None when it was made.
    """

    num_tokens: int
    loss: float
    gradient_norm: float = 0.0
    parts: dict[str, float] = field(default_factory=dict)
    problem: str | None = None


def run_update(
    objective: nn.Module,
    batches: Sequence[Batch],
    *,
    optimizer: Optimizer,
    lr: float,
    clip_norm: float,
    replica: Replica | None = None,
) -> UpdateResult:
    """Makes one update from the token-weighted mean of the batches' losses.

    Several batches, and several workers, make the update that one large batch would make.

    When a loss or a gradient is not finite, parameters, optimiser and the objective's buffers
    stay as they were before the call.

    Args:
        objective: maps a batch to LossTerms.
        batches: one or more, together one update.
        optimizer: over the objective's parameters.
        lr: learning rate of this update.
        clip_norm: the gradient's norm is cut to this; 0 leaves it.
        replica: the objective in this worker; every worker gets the same batches and computes its
            own rows. None where there is one worker.

    Raises:
        ValueError: the batches hold no target token.
    """
    num_tokens = sum(batch.num_tokens for batch in batches)
    if num_tokens < 1:
        raise ValueError(f"batches must hold target tokens, got {num_tokens} in {len(batches)}")
    replica = Replica(objective) if replica is None else replica
    several = replica.group.size > 1 or len(batches) > 1
    before = _buffers(objective)
    optimizer.zero_grad(set_to_none=True)
    if several:
        replica.hold()
    result = _backward(replica, batches, num_tokens)
    if result.problem is None:
        result = _clip(objective, result, clip_norm)
    if result.problem is not None:
        _restore(before)
        optimizer.zero_grad(set_to_none=True)
    if several:
        replica.release(made=result.problem is None)
    if result.problem is None:
        for group in optimizer.param_groups:
            group["lr"] = lr
        step(optimizer)
    return result


def _backward(replica: Replica, batches: Sequence[Batch], num_tokens: int) -> UpdateResult:
    """Leaves the gradient of the batches, whole in every worker, whether it is finite or not."""
    sums: dict[str, Tensor] = {}
    for number, batch in enumerate(batches, 1):
        share = batch.num_tokens / num_tokens
        outputs = replica.backward(batch, share, is_last=number == len(batches))
        for name, value in outputs.items():
            sums[name] = sums[name] + value if name in sums else value
    # once for all: each value that is read makes the processor wait for the device
    values = replica.group.total(torch.stack(list(sums.values())).cpu()).tolist()
    parts = dict(zip(sums, values, strict=True))
    loss = parts.pop("")
    traffic = replica.exchange()
    if traffic.dense:
        parts["table_megabytes/sent"] = traffic.sent / 1e6
        parts["table_megabytes/dense"] = traffic.dense / 1e6
    problem = None if math.isfinite(loss) else f"the loss is {loss}"
    return UpdateResult(num_tokens, loss, parts=parts, problem=problem)


def _clip(objective: nn.Module, result: UpdateResult, clip_norm: float) -> UpdateResult:
    gradients = merge_rows(objective.parameters())
    norm_tensor = get_total_norm(gradients)
    norm = float(norm_tensor)
    problem = None
    if not math.isfinite(norm):
        problem = f"the gradient of {_culprits(objective)} is not finite"
    elif clip_norm:
        scale_to(gradients, clip_norm, norm_tensor)
    return UpdateResult(result.num_tokens, result.loss, norm, result.parts, problem)


def _culprits(objective: nn.Module) -> str:
    names = [
        name
        for name, parameter in objective.named_parameters()
        if not all(bool(torch.isfinite(g).all()) for g in merge_rows([parameter]))
    ]
    shown = ", ".join(names[:4])
    # The norm of finite gradients can overflow too.
    return f"{shown} and {len(names) - 4} more" if len(names) > 4 else shown or "all parameters"


@dataclass(frozen=True)
class _Buffer:
    owner: nn.Module
    name: str
    tensor: Tensor
    value: Tensor


def _buffers(objective: nn.Module) -> list[_Buffer]:
    """A copy of each buffer: a running mean that took a NaN in would never lose it again."""
    return [
        _Buffer(module, name, buffer, buffer.clone())
        for module in objective.modules()
        for name, buffer in module.named_buffers(recurse=False)
    ]


def _restore(before: Sequence[_Buffer]) -> None:
    with torch.no_grad():
        for buffer in before:
            buffer.tensor.copy_(buffer.value)
            # The forward pass may have put a new tensor in the old one's place.
            setattr(buffer.owner, buffer.name, buffer.tensor)
