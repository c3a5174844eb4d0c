"""Norm, clipping and the optimiser's step, for gradients of which some hold a few rows only.

A gradient of an embedding with all its rows is a table of zeros as large as the weights, made for
every lookup. It is kept as rows, and spread out at the step alone, one table after the other: the
optimiser sees what it would have seen, in less memory.
"""

from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.optim import Optimizer


def merge_rows(parameters: Iterable[nn.Parameter]) -> list[Tensor]:
    """Returns the numbers of every gradient, sparse ones with each row once: views, to be scaled.

    Args:
        parameters: those without a gradient are left out.
    """
    found = []
    for parameter in parameters:
        if parameter.grad is None:
            continue
        if parameter.grad.is_sparse:
            parameter.grad = parameter.grad.coalesce()
            found.append(parameter.grad.values())
        else:
            found.append(parameter.grad)
    return found


def scale_to(gradients: list[Tensor], limit: float, norm: Tensor) -> None:
    """Shortens the gradients to ``limit`` where ``norm`` is longer.

    Args:
        gradients: of ``merge_rows``.
        limit: above 0.
        norm: theirs.
    """
    factor = (limit / (norm + 1e-6)).clamp(max=1.0)
    for gradient in gradients:
        gradient.mul_(factor.to(gradient.device))


def step(optimizer: Optimizer) -> None:
    """Makes the optimiser's step; sparse gradients are spread out one at a time and dropped."""
    sparse = [
        parameter
        for group in optimizer.param_groups
        for parameter in group["params"]
        if parameter.grad is not None and parameter.grad.is_sparse
    ]
    if not sparse:
        optimizer.step()
        return
    rows = [parameter.grad for parameter in sparse]
    for parameter in sparse:
        parameter.grad = None
    optimizer.step()
    dense = [
        (parameter, parameter.grad)
        for group in optimizer.param_groups
        for parameter in group["params"]
        if parameter.grad is not None
    ]
    for parameter, _ in dense:
        parameter.grad = None
    with torch.no_grad():
        for parameter, row in zip(sparse, rows, strict=True):
            parameter.grad = row.to_dense()
            optimizer.step()
            parameter.grad = None
    for parameter, row in zip(sparse, rows, strict=True):
        parameter.grad = row
    for parameter, gradient in dense:
        parameter.grad = gradient
