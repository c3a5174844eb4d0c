"""Gradients of large tables, sent only for the rows that some worker has touched.

A word's row of the embedding has a gradient when the word is in the batch, a row of the output
layer when the word is in some T: most rows of most tables have none. Every worker says which rows
it has (a byte a row), and the union of these rows is summed: exactly the sum over all rows, for
the others are zero everywhere.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor

from dvs2s.parallel.group import Group


@dataclass(frozen=True)
class Traffic:
    """What an exchange put on the wire, bytes a worker (each is sent and received about once).

    Args:
        sent: bytes handed to the exchange.
        dense: bytes that all rows of the same tables would have been.
    """

    sent: int
    dense: int


def exchange_rows(tables: Sequence[Tensor], group: Group) -> Traffic:
    """Replaces the gradients of ``tables`` by their means over the workers.

    A table without a gradient in any worker stays without one.

    Args:
        tables: (V, ...) parameters, the same in every worker and in the same order.
        group: the workers.
    """
    if group.size == 1 or not tables:
        return Traffic(0, 0)
    touched = [_touched(table) for table in tables]
    present = torch.cat([*touched, *(_flag(table) for table in tables)])
    sent = present.numel()
    dist.all_reduce(present, op=dist.ReduceOp.MAX)
    masks = torch.split(present[: -len(tables)].bool(), [len(mask) for mask in touched])
    wanted = present[-len(tables) :].bool().tolist()
    chosen = [
        _Rows(table, mask) for table, mask, some in zip(tables, masks, wanted, strict=True) if some
    ]
    flats = [rows.taken() for rows in chosen]
    if flats:
        flat = torch.cat(flats)
        dist.all_reduce(flat)
        flat.div_(group.size)
        for rows, part in zip(chosen, torch.split(flat, [len(f) for f in flats]), strict=True):
            rows.put(part)
        sent += flat.numel() * flat.element_size()
    dense = sum(rows.table.numel() * rows.table.element_size() for rows in chosen)
    return Traffic(sent, dense)


class _Rows:
    """The rows of one table's gradient that take part; all of them where half or more do."""

    def __init__(self, table: Tensor, mask: Tensor) -> None:
        self.table = table
        places = mask.nonzero()[:, 0]
        self._places = None if 2 * len(places) > len(mask) else places
        if table.grad is None:  # another worker has one
            table.grad = torch.zeros_like(table)

    def taken(self) -> Tensor:
        grad = self._grad
        return (grad if self._places is None else grad[self._places]).flatten()

    def put(self, values: Tensor) -> None:
        if self._places is None:
            self._grad.copy_(values.view_as(self._grad))
        else:
            self._grad[self._places] = values.view(len(self._places), *self._grad.shape[1:])

    @property
    def _grad(self) -> Tensor:
        grad = self.table.grad
        assert grad is not None
        return grad


def _touched(table: Tensor) -> Tensor:
    """Returns (V,) uint8, 1 on rows whose gradient is not all zero; a NaN is not zero."""
    if table.grad is None:
        return torch.zeros(len(table), dtype=torch.uint8, device=table.device)
    return table.grad.flatten(1).any(1).to(torch.uint8)


def _flag(table: Tensor) -> Tensor:
    there = table.grad is not None
    return torch.tensor([there], dtype=torch.uint8, device=table.device)
