"""An objective as one of several workers trains it: its own rows of every batch."""

import logging
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any, Literal, Protocol, Self

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from dvs2s.errors import ConfigError
from dvs2s.objectives.observer import Observer
from dvs2s.objectives.terms import LossTerms
from dvs2s.parallel.draws import GroupDraws
from dvs2s.parallel.group import SOLO, Group
from dvs2s.parallel.tables import Traffic, exchange_rows

logger = logging.getLogger("dvs2s")

Precision = Literal["fp32", "bf16"]


class Rows(Protocol):
    """A batch that can be cut into rows."""

    def __len__(self) -> int:
        """Returns the number of pairs."""

    @property
    def num_tokens(self) -> int:
        """Target tokens."""

    def rows(self, chosen: slice) -> Self:
        """Returns the batch of some of the pairs, padded as wide as this one."""

    def to(self, device: torch.device) -> Self:
        """Returns the batch on ``device``."""


@dataclass(frozen=True)
class Part:
    """A worker's share of a batch.

    Args:
        batch: its rows; where the batch has fewer rows than there are workers, a row that stands
            for none.
        num_tokens: target tokens of its rows, 0 where it has none.
        draws: to be entered while it is computed.
    """

    batch: Any
    num_tokens: int
    draws: AbstractContextManager[Any]


def part_of(batch: Any, group: Group) -> Part:
    """Returns this worker's rows of a batch that every worker has: each size-th one.

    The rows stay as wide as the batch, so that a pair is computed as it would be in the whole.

    Args:
        batch: a ``Rows``; alone, any batch.
        group: the workers.
    """
    if group.size == 1:
        return Part(batch, batch.num_tokens, nullcontext())
    rows = slice(group.rank, None, group.size)
    is_empty = group.rank >= len(batch)
    if is_empty:
        rows = slice(0, 1)
    own = batch.rows(rows)
    return Part(own, 0 if is_empty else own.num_tokens, GroupDraws(rows, len(batch)))


class Replica:
    """The objective in this worker, kept equal to that of the others; alone, the objective.

    Args:
        objective: maps a batch to LossTerms; equal in all workers, checked.
        group: the workers.
        tables: parameters of the objective whose gradients go row by row (``parallel/tables``).
        precision: ``bf16`` computes under autocast; parameters, gradients and sums stay float32.
        uses_all: whether every update uses every parameter; False where one may be left out.

    Raises:
        ConfigError: the workers' parameters differ, or the precision is unknown.
    """

    def __init__(
        self,
        objective: nn.Module,
        group: Group = SOLO,
        *,
        tables: Sequence[Tensor] = (),
        precision: Precision = "fp32",
        uses_all: bool = False,
    ) -> None:
        if precision not in ("fp32", "bf16"):
            raise ConfigError(f"precision must be fp32 or bf16, got {precision!r}")
        self.objective, self.group, self._precision = objective, group, precision
        self._tables = [table for table in tables if table.requires_grad]
        self._observers = [m for m in objective.modules() if isinstance(m, Observer)]
        self._heard = [torch.zeros(2).double() for _ in self._observers]
        # where a table goes apart, and where there is one worker, only looked-up rows are kept
        apart = {id(table) for table in self._tables}
        self._lookups = [
            module
            for module in objective.modules()
            if isinstance(module, nn.Embedding) and (group.size == 1 or id(module.weight) in apart)
        ]
        self._shared: DistributedDataParallel | None = None
        if group.size > 1:
            _check_equal(objective, group)
            self._shared = _shared(objective, self._tables, uses_all=uses_all)

    def hold(self) -> None:
        """Begins an update of several parts: state that follows batches waits for its end."""
        self._heard = [torch.zeros(2).double() for _ in self._observers]
        for observer in self._observers:
            observer.hold()

    def release(self, *, made: bool) -> None:
        """Ends the update: moves that state by all parts of all workers, if it was ``made``."""
        if made and self._observers:
            sums = self.group.total(torch.stack(self._heard))
            for observer, heard in zip(self._observers, sums, strict=True):
                observer.release(heard)
        else:
            for observer in self._observers:
                observer.release(None)

    def backward(self, batch: Any, share: float, *, is_last: bool) -> dict[str, Tensor]:
        """Adds the gradient of this worker's rows, and returns what they add to loss and parts.

        Gradients of embeddings are sparse: rows that were looked up.

        Args:
            batch: of all workers.
            share: of the update's tokens that the batch holds.
            is_last: batch of the update: the workers' gradients are averaged now.

        Returns:
            detached float64 scalars by name, the loss under "": summed over batches and workers
            they are the update's.
        """
        device = next(self.objective.parameters()).device
        part = part_of(batch, self.group)
        weight = share * part.num_tokens / batch.num_tokens
        with ExitStack() as stack:
            if self._shared is not None and not is_last:
                stack.enter_context(self._shared.no_sync())
            with part.draws, self._autocast(device), self._row_gradients():
                outputs = self._forward(part.batch.to(device))
            self._collect(is_empty=not part.num_tokens)
            # the workers' gradients are averaged: each counts as many times as there are workers
            torch.autograd.backward(outputs[""] * (weight * self.group.size))
        return {name: value.detach().double() * weight for name, value in outputs.items()}

    def exchange(self) -> Traffic:
        """Averages the gradients of the tables; those of the rest are by now."""
        return exchange_rows(self._tables, self.group)

    def _forward(self, batch: Any) -> dict[str, Tensor]:
        if self._shared is None:
            return _as_dict(self.objective(batch))
        outputs: dict[str, Tensor] = self._shared(batch)
        return outputs

    def _collect(self, *, is_empty: bool) -> None:
        if self.group.size == 1 and not all(o.is_holding for o in self._observers):
            return
        for heard, observer in zip(self._heard, self._observers, strict=True):
            sums = observer.held()
            if not is_empty:
                heard += sums

    @contextmanager
    def _row_gradients(self) -> Iterator[None]:
        """What is looked up inside gets a gradient of the rows that were looked up, no others."""
        before = [module.sparse for module in self._lookups]
        for module in self._lookups:
            module.sparse = True
        try:
            yield
        finally:
            for module, was_sparse in zip(self._lookups, before, strict=True):
                module.sparse = was_sparse

    def _autocast(self, device: torch.device) -> AbstractContextManager[Any]:
        if self._precision == "fp32":
            return nullcontext()
        return torch.autocast(device.type, dtype=torch.bfloat16)


class _AsDict(nn.Module):
    """The objective with outputs that DistributedDataParallel can look through."""

    def __init__(self, objective: nn.Module) -> None:
        super().__init__()
        self.objective = objective

    def forward(self, batch: Any) -> dict[str, Tensor]:
        """Returns the loss under "" and the parts by name."""
        return _as_dict(self.objective(batch))


def _as_dict(terms: LossTerms) -> dict[str, Tensor]:
    return {"": terms.total, **terms.parts}


def _shared(
    objective: nn.Module, tables: Sequence[Tensor], *, uses_all: bool
) -> DistributedDataParallel:
    module = _AsDict(objective)
    apart = {id(table) for table in tables}
    names = [name for name, p in module.named_parameters() if id(p) in apart]
    ignore = DistributedDataParallel._set_params_and_buffers_to_ignore_for_model
    ignore(module, names)  # type: ignore[no-untyped-call]
    return DistributedDataParallel(
        module,
        forward_sync_buffers=False,  # every worker moves its own by the same sums
        find_unused_parameters=not uses_all,
        gradient_as_bucket_view=True,
    )


def _check_equal(objective: nn.Module, group: Group) -> None:
    """Checks that every worker starts from the same parameters."""
    with torch.no_grad():
        own = sum(float(p.double().sum()) for p in objective.parameters())
    found = group.gather(own)
    if len(set(map(repr, found))) > 1:
        raise ConfigError(
            f"the workers start from different parameters (sums {found}): give all of them the "
            f"same options, corpus, torch version and, to continue a run, the same trainer.run"
        )
