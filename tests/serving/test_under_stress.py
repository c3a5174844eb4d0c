"""The whole server, as it is started: a rush, leavers, odd bytes, a killed engine; R13-R19.

DVS2S_TEST_JOBS asks for a longer run of leavers.
"""

import asyncio
import contextlib
import os
import random
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from served import Answered, Served, ask, gone

MINE = {
    "message": "what about w1_2 and w3_0 ?",
    "seed": 11,
    "search": {"kind": "sampling", "num_best": 3, "temperature": 1.5},
    "lens": 5,
}
KINDS: list[dict[str, Any]] = [
    {"kind": "greedy"},
    {"kind": "beam", "beam": 4, "num_best": 2},
    {"kind": "sampling", "temperature": 0.9},
    {"kind": "greedy", "vocabulary": "full"},
]


@pytest.fixture(scope="module")
def served(tiny_run: Path) -> Iterator[Served]:
    made = Served(f"checkpoint={tiny_run}", "search.max_length=13", "server.max_queue=64")
    made.wait_for("ready\n")
    yield made
    made.close()


@pytest.fixture
def address(served: Served) -> str:
    return served.wait_for(r"(http://127\.0\.0\.1:\d+)")


def metric(address: str, name: str) -> float:
    for line in httpx.get(address + "/metrics").text.splitlines():
        if line.startswith(f"dvs2s_{name} "):
            return float(line.split()[1])
    raise AssertionError(f"no dvs2s_{name}")


def wait_until_idle(address: str) -> None:
    end = time.monotonic() + 60
    while metric(address, "running") or metric(address, "queued"):
        assert time.monotonic() < end, "places stay taken"
        time.sleep(0.05)


def memory(served: Served) -> float:
    """Returns MiB of all its processes."""
    return float(sum(p.memory_info().rss for p in served.family())) / 2**20


def other(number: int, **values: Any) -> dict[str, Any]:
    chance = random.Random(number)
    text = f"w{chance.randrange(4)}_{chance.randrange(3)} is here {number}"
    return {"message": text, "search": chance.choice(KINDS), "seed": number, "lens": 3, **values}


def test_the_same_request_gets_the_same_reply_among_many_others(address: str) -> None:
    async def story() -> tuple[Any, list[Any]]:
        alone = (await ask(address, MINE)).json()
        waves = [
            await asyncio.gather(
                *(ask(address, MINE if i == place else other(i)) for i in range(60))
            )
            for place in (0, 30, 59)
        ]
        return alone, [wave[place].json() for wave, place in zip(waves, (0, 30, 59), strict=True)]

    alone, among = asyncio.run(story())
    for answer in among:
        assert {k: answer[k] for k in ("replies", "vocabulary", "seed")} == {
            k: alone[k] for k in ("replies", "vocabulary", "seed")
        }


def test_a_thousand_at_once_are_answered_or_told_when_to_come_back(address: str) -> None:
    async def story() -> list[Answered]:
        return await asyncio.gather(*(ask(address, other(i)) for i in range(1000)))

    answers = asyncio.run(story())
    statuses = [answer.status for answer in answers]
    assert set(statuses) == {200, 429} and statuses.count(200) >= 64
    for answer in answers:
        if answer.status == 429:
            assert "retry-after: " in answer.head
            assert answer.json()["error"]["code"] == "queue_full"
    assert httpx.post(address + "/v1/reply", json=MINE, timeout=60).status_code == 200
    wait_until_idle(address)


def test_those_who_leave_take_no_place_and_no_memory_along(served: Served, address: str) -> None:
    count = int(os.environ.get("DVS2S_TEST_JOBS", "400"))
    chance = random.Random(0)
    sizes: list[float] = []

    async def story() -> None:
        for first in range(0, count, 40):
            await asyncio.gather(
                *(
                    ask(
                        address,
                        other(i, stream=chance.random() < 0.5, **biased(i)),
                        read=chance.choice((-1, 0, 0, chance.randrange(1, 600))),
                    )
                    for i in range(first, min(first + 40, count))
                )
            )
            sizes.append(memory(served))

    def biased(number: int) -> dict[str, Any]:
        return {"forbid": ["here"]} if number % 7 == 0 else {}

    asyncio.run(story())
    wait_until_idle(address)
    answer = httpx.post(address + "/v1/reply", json=MINE, timeout=60)
    assert answer.status_code == 200
    print(f"MiB: {sizes[len(sizes) // 4]:.0f} after a quarter, {sizes[-1]:.0f} at the end")
    assert sizes[-1] < sizes[len(sizes) // 4] + 32


def test_a_hundred_megabytes_in_chunks_are_cut_short(address: str) -> None:
    host, port = address.removeprefix("http://").split(":")
    chunk = b"10000\r\n" + b" " * 0x10000 + b"\r\n"
    sent = 0
    with socket.create_connection((host, int(port)), timeout=30) as connection:
        connection.sendall(
            b"POST /v1/reply HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
            b"Transfer-Encoding: chunked\r\n\r\n"
        )
        with contextlib.suppress(OSError):
            while sent < 100 * 2**20:
                connection.sendall(chunk)
                sent += 0x10000
        answer = b""
        with contextlib.suppress(OSError):
            answer = connection.recv(65536)
    assert sent < 50 * 2**20, "all of it was read"
    assert answer == b"" or b" 413 " in answer.split(b"\r\n")[0]
    assert httpx.post(address + "/v1/reply", json=MINE, timeout=60).status_code == 200


ODD = (
    "zzyzx qwrtp blorf",
    "<unk> <pad> <s> </s> <sep>",
    "\u202e \u2066 مرحبا",
    "e" + "\u0301" * 1000,
    "👨‍👩‍👧" * 50,
    "w0_1 " * 800,
    "a\u0000b\u0007",
    "\ud800 lone",
)


def test_whatever_is_said_the_model_answers_in_valid_text(address: str) -> None:
    for message in ODD:
        answer = asyncio.run(ask(address, {"message": message, "search": {"kind": "greedy"}}))
        assert answer.status == 200 and answer.body.isascii(), ascii(message[:20])
        tokens = answer.json()["replies"][0]["tokens"]
        assert not {"<pad>", "<s>", "</s>", "<sep>", "<unk>"} & set(tokens)


def test_a_killed_engine_is_told_of_replaced_and_ended_with_the_server(
    served: Served, address: str
) -> None:
    engine = served.family()[1]
    work = {"message": "hello", "search": {"kind": "sampling", "num_best": 20, "max_length": 200}}

    async def story() -> list[Answered]:
        at_work = [asyncio.create_task(ask(address, work)) for _ in range(40)]
        while not await asyncio.to_thread(metric, address, "running"):
            assert not all(task.done() for task in at_work), "it was too quick"
        engine.send_signal(signal.SIGKILL)
        return await asyncio.gather(*at_work)

    answers = asyncio.run(story())
    assert {answer.status for answer in answers} <= {200, 503}
    for answer in answers:
        if answer.status == 503:
            assert answer.json()["error"]["type"] == "unavailable_error"
    end = time.monotonic() + 60
    while httpx.get(address + "/readyz").status_code != 200:
        assert time.monotonic() < end, "it was not restarted"
        time.sleep(0.02)
    served.wait_for("the engine process was restarted")
    assert gone([engine])
    assert httpx.post(address + "/v1/reply", json=MINE, timeout=60).status_code == 200
    family = served.family()
    assert len(family) == 2 and engine.pid not in {p.pid for p in family}
    served.process.send_signal(signal.SIGTERM)
    assert served.process.wait(60) == 0 and gone(family)
    assert not [p for p in family if psutil.pid_exists(p.pid)]
