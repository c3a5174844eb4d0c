"""The workers of a run: who this one is, and the few things that they tell one another."""

import json
import logging
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed import PrefixStore  # type: ignore[attr-defined]
from torch.distributed.rendezvous import rendezvous

from dvs2s.errors import ConfigError
from dvs2s.parallel.errors import lost_workers_named
from dvs2s.parallel.watch import Watch

logger = logging.getLogger("dvs2s")

# Of one exchange. Long, for a worker may wait while another one writes a large checkpoint; one
# that has died is noticed by ``Watch`` or by its closed connection, long before.
_PATIENCE = timedelta(minutes=30)


@dataclass(frozen=True)
class Group:
    """This worker among all of a run; alone by default, when every method is free.

    Args:
        rank: this worker's number, 0 to size - 1; 0 is the one that writes and speaks.
        size: number of workers.
    """

    rank: int = 0
    size: int = 1

    @property
    def is_first(self) -> bool:
        """Whether this worker writes, logs and shows progress."""
        return self.rank == 0

    def total(self, values: Tensor) -> Tensor:
        """Returns the sum of a tensor of one shape over the workers, the same bits in each."""
        if self.size == 1:
            return values
        summed = values.clone()
        dist.all_reduce(summed)
        return summed

    def any(self, *flags: bool) -> tuple[bool, ...]:
        """Returns, flag by flag, whether it is set in any worker."""
        if self.size == 1:
            return flags
        return tuple(self.total(torch.tensor(flags, dtype=torch.int32)).bool().tolist())

    def told(self, value: Any) -> Any:
        """Returns the first worker's value, plain JSON types; the others' are not looked at."""
        return self.gather(value if self.is_first else None)[0]

    def gather(self, value: Any) -> list[Any]:
        """Returns every worker's value in order of rank, plain JSON types (NaN included)."""
        if self.size == 1:
            return [value]
        own = torch.frombuffer(bytearray(json.dumps(value).encode()), dtype=torch.uint8)
        lengths = torch.zeros(self.size, dtype=torch.int64)
        lengths[self.rank] = len(own)
        lengths = self.total(lengths)
        padded = torch.zeros(int(lengths.max()), dtype=torch.uint8)
        padded[: len(own)] = own
        everybody = [torch.empty_like(padded) for _ in range(self.size)]
        dist.all_gather(everybody, padded)
        pairs = zip(everybody, lengths.tolist(), strict=True)
        return [json.loads(bytes(text[:length].tolist())) for text, length in pairs]

    def barrier(self) -> None:
        """Returns when every worker has come here."""
        self.total(torch.zeros(1))

    def mine(self, items: Sequence[Any]) -> Sequence[Any]:
        """Returns every ``size``-th item, from number ``rank`` on."""
        return items[self.rank :: self.size]


SOLO = Group()


@contextmanager
def open_group(device: str = "cpu") -> Iterator[Group]:
    """Yields the group that ``torchrun`` has started this process in; alone without torchrun.

    GPUs talk over nccl, processors over gloo. While it is open, a worker that another one has not
    heard from for half a minute ends it with a message.

    Args:
        device: ``cpu``, or this worker's GPU.

    Raises:
        ConfigError: torchrun's variables are there in part, or this torch cannot talk.
        WorkerLostError: another worker is gone.
    """
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1:
        yield SOLO
        return
    if "RANK" not in os.environ or "MASTER_ADDR" not in os.environ:
        raise ConfigError("WORLD_SIZE is set without RANK or MASTER_ADDR: start with torchrun")
    if not dist.is_available():
        raise ConfigError("this build of torch has no torch.distributed: install another one")
    rank = int(os.environ["RANK"])
    backend = "gloo" if device == "cpu" else "cpu:gloo,cuda:nccl"
    with lost_workers_named(rank, size):
        store, number = _store(rank)
        dist.init_process_group(backend, store=store, rank=rank, world_size=size, timeout=_PATIENCE)
        try:
            with Watch(rank, size, name=f"{number}"):
                group = Group(rank, size)
                if group.is_first:
                    logger.info("%d workers over %s", size, backend)
                yield group
                group.barrier()  # who leaves first must not look dead to the others
        finally:
            dist.destroy_process_group()


def _store(rank: int) -> tuple[Any, int]:
    """Returns where the workers meet, apart for each group that a process opens, and its number."""
    base, _, _ = next(rendezvous("env://", timeout=_PATIENCE))
    number = base.add(f"dvs2s/opened/{rank}", 1)  # all open the same groups in the same order
    return PrefixStore(f"dvs2s/{number}", base), number


def own_device(device: str) -> str:
    """Returns a worker's own ``cuda:N`` for ``cuda`` under torchrun; any other device as it is."""
    if device == "cuda" and int(os.environ.get("WORLD_SIZE", "1")) > 1:
        return f"cuda:{os.environ.get('LOCAL_RANK', '0')}"
    return device
