"""A fake engine, a server in a thread, and a child process: what the tests of serving share."""

import asyncio
import contextlib
import itertools
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import uvicorn
from fastapi import FastAPI

from dvs2s.config import SearchConfig
from dvs2s.serving.client import EngineError
from dvs2s.serving.http import protocol
from dvs2s.serving.wire import Event, Job, ModelInfo

Serve = Callable[..., str]
SEARCH = {f: getattr(SearchConfig(kind="greedy", size=40), f) for f in SearchConfig.__annotations__}
INFO = ModelInfo("echo", "runs/echo", 60, 20, True, True, search=SEARCH, turns=3)
PLAIN = ModelInfo(
    "plain", "runs/plain", 60, 20, False, True, search={**SEARCH, "vocabulary": "full"}, turns=1
)


class FakeTicket:
    """Says the message back, a word at a time."""

    def __init__(self, job: Job, engine: "FakeEngine") -> None:
        self._job, self._engine = job, engine

    async def events(self) -> AsyncIterator[Event]:
        """Yields ``words``, a ``text`` a word, and ``done``."""
        words = ["you", "said", *self._job.turns[-1].split()]
        vocabulary = fake_vocabulary(words)
        if self._job.stream:
            yield {"kind": "words", "id": self._job.id, "vocabulary": vocabulary}
        for place, word in enumerate(words):
            await asyncio.sleep(self._engine.delay)
            while self._engine.hold_at == place:
                await asyncio.sleep(0.01)
            if self._engine.fail_at == place:
                self.cancel()
                raise EngineError("the engine stopped while answering; ask again", 503, 1)
            if self._job.stream:
                yield {"kind": "text", "id": self._job.id, "text": (" " if place else "") + word}
        self.cancel()
        yield fake_done(self._job, words, vocabulary)

    def cancel(self) -> None:
        """Frees the place."""
        self._engine.running.discard(self._job.id)


def fake_vocabulary(words: list[str]) -> dict[str, Any]:
    content = [
        {"word": word, "id": 20 + i, "beta": round(0.99 / (i + 1), 3)}
        for i, word in enumerate(dict.fromkeys([*words[2:], "tea", "rain"]))
    ]
    function = ["you", "said"]
    size = len(content) + len(function)
    return {
        "size": size,
        "total": 60,
        "content_size": len(content),
        "content": content,
        "function": function,
    }


def fake_done(job: Job, words: list[str], vocabulary: dict[str, Any]) -> Event:
    best = {
        "text": " ".join(words),
        "tokens": words,
        "betas": [1.0] * len(words),
        "score": -1.0,
        "log_prob": -1.0,
        "finish": "stop",
    }
    seconds = {"queue": 0.0, "encode": 0.001, "predict": 0.001, "select": 0.001, "search": 0.01}
    return {
        "kind": "done",
        "id": job.id,
        "replies": [best] * job.search["num_best"],
        "vocabulary": vocabulary,
        "heard": {
            "words": len(job.turns[-1].split()),
            "unknown": job.turns[-1].split().count("zorgblat"),
        },
        "seconds": {**seconds, "total": 0.014},
        "batch": 1,
        "prompt": 3,
    }


class FakeEngine:
    """An ``EngineClient`` without a process.

    Args:
        delay: seconds a word.
        capacity: jobs at once; a further one gets 429.
    """

    def __init__(self, delay: float = 0.0, capacity: int = 1000) -> None:
        self.delay, self.capacity = delay, capacity
        self.fail_at: int | None = None
        self.hold_at: int | None = None  # the word that waits until this is None again
        self.why_not = ""
        self.running: set[int] = set()
        self.expected = 0
        self.models: tuple[ModelInfo, ...] = (INFO, PLAIN)
        self.num_queued = 0
        self.jobs: list[Job] = []
        self._ids = itertools.count(1)

    @property
    def ready(self) -> bool:
        return not self.why_not

    @property
    def num_running(self) -> int:
        return len(self.running)

    def new_id(self) -> int:
        return next(self._ids)

    def refusal(self, client: str) -> EngineError | None:
        if self.why_not:
            return EngineError(self.why_not, 503, 2)
        if len(self.running) + self.expected >= self.capacity:
            return EngineError("too many requests wait already", 429, 1)
        return None

    def expect(self, client: str) -> None:
        self.expected += 1

    def unexpect(self, client: str) -> None:
        self.expected -= 1

    def submit(self, job: Job, client: str) -> FakeTicket:
        refusal = self.refusal(client)
        if refusal is not None:
            raise refusal
        self.running.add(job.id)
        self.jobs.append(job)
        return FakeTicket(job, self)

    async def start(self) -> None:
        self.why_not = ""

    async def stop(self) -> None:
        self.why_not = "the server is shutting down"

    def wait_until_free(self, seconds: float = 30.0) -> None:
        """Returns when nothing runs; fails when something still does."""
        end = time.monotonic() + seconds
        while self.running:
            assert time.monotonic() < end, f"{len(self.running)} jobs were not let go"
            time.sleep(0.01)


@contextlib.contextmanager
def serving(app: FastAPI, read_seconds: float = 10.0) -> Iterator[str]:
    """Serves an application in a thread; gives its address."""
    config = uvicorn.Config(
        app,
        port=0,
        loop="uvloop",  # as serve.py has it
        http=protocol(read_seconds),
        ws="none",
        log_config=None,
        access_log=False,
        timeout_graceful_shutdown=2,
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        assert thread.is_alive(), "the server did not start"
        time.sleep(0.01)
    try:
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(30)
        assert not thread.is_alive()
