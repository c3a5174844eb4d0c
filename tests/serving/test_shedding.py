"""Refusals: for everyone there is no room for, before the body is read, and paced."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from serving_fakes import FakeEngine

from dvs2s.serving import shedding
from dvs2s.serving.client import EngineError
from dvs2s.serving.engine import Engine
from dvs2s.serving.options import ServerOptions
from dvs2s.serving.shedding import Pace, Shed
from dvs2s.serving.wire import Job

PATH = "/v1/reply"


class Inside:
    """An application that holds its requests until ``go`` is set."""

    def __init__(self) -> None:
        self.go = asyncio.Event()
        self.arrived = 0

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.arrived += 1
        await self.go.wait()


async def nothing() -> Any:
    raise AssertionError("the body of a refused request was asked for")


def call(shed: Shed, statuses: list[int], client: str = "a") -> Awaitable[None]:
    async def send(message: Any) -> None:
        if message["type"] == "http.response.start":
            statuses.append(message["status"])

    scope: dict[str, Any] = {"type": "http", "path": PATH, "method": "POST", "state": {}}
    return asyncio.ensure_future(shed({**scope, "client": (client, 1)}, nothing, send))


async def settled(is_so: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not is_so():
            await asyncio.sleep(0.001)


def test_of_many_that_arrive_at_once_only_those_with_a_place_are_read() -> None:
    async def story() -> None:
        engine, inside, statuses = FakeEngine(capacity=3), Inside(), list[int]()
        shed = Shed(inside, engine, frozenset({PATH}))
        calls = [call(shed, statuses) for _ in range(20)]
        await settled(lambda: len(statuses) == 17)
        assert inside.arrived == 3 and set(statuses) == {429}
        inside.go.set()
        await asyncio.gather(*calls)
        assert engine.expected == 0

    asyncio.run(story())


def test_a_body_that_does_not_come_keeps_no_place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shedding, "_KEPT", 0.05)

    async def story() -> None:
        engine, inside = FakeEngine(capacity=1), Inside()
        shed = Shed(inside, engine, frozenset({PATH}))
        calls = [call(shed, [])]
        await settled(lambda: inside.arrived == 1 and engine.expected == 0)
        calls.append(call(shed, []))
        await settled(lambda: inside.arrived == 2)
        inside.go.set()
        await asyncio.gather(*calls)
        assert engine.expected == 0, "a place was given back twice"

    asyncio.run(story())


def test_the_engine_counts_places_by_client_and_the_room_of_its_process() -> None:
    async def story() -> None:
        engine = Engine({}, ServerOptions(max_queue=2, max_batch=1))
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Engine, "why_not", "")
            for _ in range(4):  # two in the queue, two in the process
                assert engine.refusal("a") is None
                engine.expect("a")
            refused = engine.refusal("a")
            assert isinstance(refused, EngineError) and refused.status == 429
            for number in range(2):
                engine.unexpect("a")
                engine.submit(Job(number, "m", ("x",), {}), "a")
            assert engine.refusal("a") is not None
            engine.unexpect("a")
            assert engine.refusal("a") is None

    asyncio.run(story())


@given(
    st.lists(st.floats(0, 0.5), min_size=1, max_size=60),
    st.sampled_from([1.0, 10.0, 200.0]),
    st.sampled_from([0.1, 1.0]),
)
def test_turns_keep_the_rate_unless_one_would_wait_too_long(
    gaps: list[float], rate: float, longest: float
) -> None:
    pace, now, last = Pace(rate, longest), 100.0, None
    for gap in gaps:
        now += gap
        wait = pace.wait(now)
        assert 0 <= wait <= longest + 1e-9
        turn = now + wait
        if last is None:
            assert wait == 0
        elif wait < longest - 1e-9:
            assert turn >= last + 1 / rate - 1e-9
            assert wait == 0 or turn <= last + 1 / rate + 1e-9, "it waited for nothing"
        last = turn


def test_refusals_wait_for_their_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shedding, "_PROMPT", 1 / 300)
    monkeypatch.setattr(shedding, "_LONGEST", 300.0)

    async def story() -> None:
        statuses = list[int]()
        shed = Shed(Inside(), FakeEngine(capacity=0), frozenset({PATH}))
        calls = [asyncio.ensure_future(call(shed, statuses)) for _ in range(3)]
        done, waiting = await asyncio.wait(calls, timeout=0.3)
        assert statuses == [429] and len(done) == 1
        for one in waiting:
            one.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)

    asyncio.run(story())


def test_the_first_refusals_are_prompt() -> None:
    pace = Pace(200.0, 1.0)
    assert [pace.wait(t) for t in (5.0, 5.1, 5.2)] == [0.0, 0.0, 0.0]
