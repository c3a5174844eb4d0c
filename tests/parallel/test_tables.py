"""Gradients of tables, row by row, are the dense mean; few rows are few bytes."""

import os
import traceback
from collections.abc import Callable

import pytest
import torch
import torch.distributed as dist
from torch import nn

from dvs2s.errors import ConfigError
from dvs2s.parallel.group import Group, open_group
from dvs2s.parallel.replica import Replica
from dvs2s.parallel.tables import exchange_rows

WORDS = 40


def forked(size: int, function: Callable[[Group], None]) -> None:
    """Runs a function in forks that are a group; fails when one of them fails."""
    store = dist.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    children = []
    for rank in range(size):
        child = os.fork()
        if child:
            children.append(child)
            continue
        torch.set_num_threads(1)  # a fork has none of OpenMP's threads, and would wait for them
        os.environ |= {"RANK": str(rank), "WORLD_SIZE": str(size), "MASTER_ADDR": "127.0.0.1"}
        os.environ |= {"MASTER_PORT": str(store.port), "TORCHELASTIC_USE_AGENT_STORE": "True"}
        try:
            with open_group() as group:
                function(group)
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    assert [os.waitpid(child, 0)[1] for child in children] == [0] * size


def tables(rank: int, rows: int, *, sparse: bool = False) -> list[nn.Parameter]:
    """A narrow table with gradients in ``rows`` rows, a full one, one without, one of worker 1."""
    generator = torch.Generator().manual_seed(rank)
    made = [nn.Parameter(torch.zeros(WORDS, width)) for width in (16, 3, 2, 4)]
    chosen = torch.randperm(WORDS, generator=generator)[:rows]
    made[0].grad = torch.zeros(WORDS, 16)
    made[0].grad[chosen] = torch.randn(rows, 16, generator=generator)
    if sparse:  # each row in two halves
        ids = chosen.repeat(2)
        halves = made[0].grad[chosen].repeat(2, 1) / 2
        made[0].grad = torch.sparse_coo_tensor(
            ids[None], halves, (WORDS, 16), check_invariants=False
        )
    made[1].grad = torch.randn(WORDS, 3, generator=generator)
    if rank == 1:
        made[3].grad = torch.zeros(WORDS, 4)
        made[3].grad[7] = float("nan")
    return made


@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize(("size", "rows"), [(2, 0), (2, 4), (3, 5), (2, WORDS)])
def test_equal_to_the_dense_mean(size: int, rows: int, sparse: bool) -> None:
    def check(group: Group) -> None:
        mine = tables(group.rank, rows, sparse=sparse)
        traffic = exchange_rows(mine, group)
        assert mine[0].grad is not None and mine[0].grad.is_sparse == sparse
        mine[0].grad = mine[0].grad.to_dense()
        everybody = [tables(rank, rows) for rank in range(size)]
        for number in (0, 1):
            dense = sum(table[number].grad for table in everybody) / size
            torch.testing.assert_close(mine[number].grad, dense, rtol=1e-6, atol=0)
        assert mine[2].grad is None
        assert mine[3].grad is not None
        assert mine[3].grad.isnan().any(1).nonzero().tolist() == [[7]]
        assert not mine[3].grad[:7].any()
        assert traffic.dense == 4 * WORDS * (16 + 3 + 4)
        union = int(mine[0].grad.any(1).sum())
        if 2 * union <= WORDS:
            assert traffic.sent == 4 * WORDS + 4 + 4 * (union * 16 + WORDS * 3 + 4)
        else:
            assert traffic.sent == 4 * WORDS + 4 + 4 * (WORDS * 19 + 4)

    forked(size, check)


def test_what_workers_tell_one_another() -> None:
    def check(group: Group) -> None:
        assert group.gather({"rank": group.rank, "x": [1.5] * group.rank}) == [
            {"rank": 0, "x": []},
            {"rank": 1, "x": [1.5]},
            {"rank": 2, "x": [1.5, 1.5]},
        ]
        assert group.told("né" if group.is_first else 3) == "né"
        assert group.any(group.rank == 2, False) == (True, False)
        assert group.total(torch.tensor([group.rank, 1])).tolist() == [3, 3]
        assert group.mine(range(7)) == range(group.rank, 7, 3)

    forked(3, check)


def test_workers_that_start_apart_are_refused() -> None:
    def check(group: Group) -> None:
        torch.manual_seed(group.rank)
        with pytest.raises(ConfigError, match="start from different parameters"):
            Replica(nn.Linear(3, 2), group)

    forked(2, check)
