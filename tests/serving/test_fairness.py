"""The queue: bounded, first in first out for each client, one of each in turn."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dvs2s.serving.fairness import FairQueue

PUTS = st.lists(st.sampled_from("abc"), max_size=40)


@given(PUTS, st.integers(1, 12))
def test_nothing_is_lost_or_doubled_and_each_client_keeps_its_order(puts: str, size: int) -> None:
    queue: FairQueue[tuple[str, int]] = FairQueue(size)
    lost = []
    for i, client in enumerate(puts):
        has_room = queue.has_room(client)
        loser = queue.put(client, (client, i))
        assert has_room == (loser != (client, i))
        lost += [loser] if loser is not None else []
    assert len(queue) == len(puts) - len(lost) <= size
    served = [queue.get() for _ in range(len(queue))]
    assert sorted(served + lost) == sorted((client, i) for i, client in enumerate(puts))
    for client in "abc":
        numbers = [i for name, i in served if name == client]
        assert numbers == sorted(numbers)


@given(PUTS)
def test_between_two_of_one_client_everybody_waiting_has_a_turn(puts: str) -> None:
    queue: FairQueue[str] = FairQueue(100)
    for client in puts:
        queue.put(client, client)
    served = [queue.get() for _ in range(len(queue))]
    for i, client in enumerate(served):
        if client in served[i + 1 :]:
            following = served.index(client, i + 1)
            assert set(served[following:]) <= set(served[i:following])


def test_a_busy_client_makes_room_for_a_quiet_one() -> None:
    queue: FairQueue[str] = FairQueue(3)
    assert [queue.put("busy", f"busy{i}") for i in range(4)] == [None, None, None, "busy3"]
    assert queue.has_room("quiet") and not queue.has_room("busy")
    assert queue.put("quiet", "quiet0") == "busy2"
    assert not queue.has_room("quiet")
    assert [queue.get() for _ in range(3)] == ["busy0", "quiet0", "busy1"]


def test_what_is_removed_is_gone() -> None:
    queue: FairQueue[int] = FairQueue(3)
    queue.put("a", 1)
    queue.remove("a", 1)
    queue.remove("a", 1)
    queue.remove("nobody", 2)
    assert len(queue) == 0
    with pytest.raises(IndexError, match="nothing waits"):
        queue.get()
