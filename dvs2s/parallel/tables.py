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
    for table in tables:
        if table.grad is not None and table.grad.is_sparse:
            table.grad = table.grad.coalesce()
    touched = [_touched(table) for table in tables]
    present = torch.cat([*touched, *(_form(table) for table in tables)])
    sent = present.numel()
    dist.all_reduce(present, op=dist.ReduceOp.MAX)
    masks = torch.split(present[: -len(tables)].bool(), [len(mask) for mask in touched])
    forms = present[-len(tables) :].tolist()
    chosen = [
        _Rows(table, mask, is_sparse=form == _SPARSE)
        for table, mask, form in zip(tables, masks, forms, strict=True)
        if form
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


_DENSE, _SPARSE = 1, 2


class _Rows:
    """The rows of one table's gradient that take part; all of them where half or more do."""

    def __init__(self, table: Tensor, mask: Tensor, *, is_sparse: bool) -> None:
        self.table, self._is_sparse = table, is_sparse
        places = mask.nonzero()[:, 0]
        self._all = 2 * len(places) > len(mask)
        self._places = torch.arange(len(mask), device=mask.device) if self._all else places

    def taken(self) -> Tensor:
        """Returns the rows of this worker one behind the other, flat."""
        grad = self.table.grad
        if grad is None:  # another worker has one
            return self.table.new_zeros(len(self._places) * self.table[0].numel())
        if not grad.is_sparse:
            return (grad if self._all else grad[self._places]).flatten()
        own, values = grad.indices()[0], grad.values()
        rows = values.new_zeros(len(self._places), *values.shape[1:])
        rows[torch.searchsorted(self._places, own)] = values
        return rows.flatten()

    def put(self, values: Tensor) -> None:
        """Makes the rows the gradient; the others are zero in every worker."""
        rows = values.view(len(self._places), *self.table.shape[1:])
        if self._is_sparse:
            places = self._places[None]
            self.table.grad = torch.sparse_coo_tensor(
                places, rows.clone(), self.table.shape, is_coalesced=True, check_invariants=False
            )
            return
        if self.table.grad is None:
            self.table.grad = torch.zeros_like(self.table)
        self.table.grad[self._places] = rows


def _touched(table: Tensor) -> Tensor:
    """Returns (V,) uint8, 1 on rows whose gradient is not all zero; a NaN is not zero."""
    grad = table.grad
    if grad is not None and not grad.is_sparse:
        return grad.flatten(1).any(1).to(torch.uint8)
    mask = torch.zeros(len(table), dtype=torch.uint8, device=table.device)
    if grad is not None:
        mask[grad.indices()[0]] = 1
    return mask


def _form(table: Tensor) -> Tensor:
    """Returns (1,) uint8: 0 for no gradient, ``_DENSE`` or ``_SPARSE``."""
    form = 0 if table.grad is None else _SPARSE if table.grad.is_sparse else _DENSE
    return torch.tensor([form], dtype=torch.uint8, device=table.device)
