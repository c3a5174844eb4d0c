"""The engine process: answers, is restarted, reloaded and ended, and leaves nothing behind."""

import asyncio
import os
import shutil
import signal
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from dvs2s.serving.client import EngineError
from dvs2s.serving.engine import Engine
from dvs2s.serving.options import ServerOptions
from dvs2s.serving.process import EngineProcess
from dvs2s.serving.ticket import EngineTicket
from dvs2s.serving.wire import Event, Job, ModelInfo


def settings(folder: Path) -> dict[str, Any]:
    return {
        "models": {"tiny": str(folder)},
        "device": "cpu",
        "threads": 1,
        "engine": "auto",
        "precision": "fp32",
        "search": {"kind": "greedy"},
    }


def job(engine: Engine, text: str = "the w0_1 is here", **values: Any) -> Job:
    info = engine.models[0]
    return Job(engine.new_id(), info.name, (text,), {**info.search, **values}, stream=True)


async def collect(ticket: EngineTicket) -> list[Event]:
    return [event async for event in ticket.events()]


async def until(condition: Callable[[], bool], seconds: float = 60.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        await asyncio.sleep(0.02)


def children() -> set[int]:
    return {p.pid for p in psutil.Process().children(recursive=True)}


def test_the_engine_runs_under_uvloop(tiny_run: Path) -> None:
    """The loop of Ray Serve, and of uvicorn where it is installed."""
    uvloop = pytest.importorskip("uvloop", reason="uvloop is not installed")

    async def story() -> None:
        engine = Engine(settings(tiny_run), ServerOptions())
        await engine.start()
        try:
            assert os.getpgid(engine.pid) != os.getpgid(0)  # Ctrl-C does not reach it
            events = await collect(engine.submit(job(engine), "me"))
            assert events[-1]["replies"][0]["text"]
        finally:
            await engine.stop()

    uvloop.run(story())
    assert not children()


def test_a_killed_engine_is_restarted_and_a_reload_drops_nothing(tiny_run: Path) -> None:
    async def story() -> None:
        engine = Engine(settings(tiny_run), ServerOptions())
        assert engine.why_not == "the model is loading"
        with pytest.raises(EngineError, match="loading") as early:
            engine.submit(Job(1, "tiny", ("x",), {}), "me")
        assert early.value.status == 503
        await engine.start()
        assert engine.ready and engine.models[0].search["kind"] == "greedy"

        # Sixty at once share batches, and each gets its own answer.
        tickets = [engine.submit(job(engine, f"w{i % 4}_0 hello"), f"c{i}") for i in range(60)]
        answers = await asyncio.gather(*(collect(t) for t in tickets))
        alone = [
            (await collect(engine.submit(job(engine, f"w{i}_0 hello"), "me"))) for i in range(4)
        ]
        for i, events in enumerate(answers):
            mine, expected = events[-1]["replies"][0], alone[i % 4][-1]["replies"][0]
            assert mine["tokens"] == expected["tokens"]
            assert mine["score"] == pytest.approx(expected["score"], abs=1e-4)
        assert engine.num_running == engine.num_queued == 0

        # Killed at work: what it had is refused, the next is answered by another process.
        former = engine.pid
        os.kill(former, signal.SIGSTOP)  # or it could have answered by then
        lost = [engine.submit(job(engine), "me") for _ in range(3)]
        os.kill(former, signal.SIGKILL)
        for ticket in lost:
            with pytest.raises(EngineError, match="ask again") as refusal:
                await collect(ticket)
            assert refusal.value.status == 503
        assert not engine.ready and "restarted" in engine.why_not
        await until(lambda: engine.ready)
        assert engine.pid != former and engine.restarts == 1
        assert (await collect(engine.submit(job(engine), "me")))[-1]["kind"] == "done"

        # Reloaded under way: the old process finishes what it has.
        former = engine.pid
        reloading = asyncio.create_task(engine.reload())
        served = 0
        while not reloading.done() or served < 20:
            assert (await collect(engine.submit(job(engine), "me")))[-1]["kind"] == "done"
            served += 1
        await reloading
        assert engine.pid != former
        await until(lambda: not psutil.pid_exists(former))
        await engine.stop()

    before = children()
    asyncio.run(story())
    assert children() <= before


def test_a_checkpoint_that_cannot_be_loaded_is_named(tiny_run: Path, tmp_path: Path) -> None:
    broken = Path(shutil.copytree(tiny_run, tmp_path / "broken"))
    for weights in broken.rglob("model.safetensors"):
        content = weights.read_bytes()
        weights.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    engine = Engine(settings(broken), ServerOptions())
    with pytest.raises(RuntimeError, match=r"model\.safetensors"):
        asyncio.run(engine.start())


class SlowProcess(EngineProcess):
    """Takes jobs and answers none until it is told."""

    def __init__(self, settings: dict[str, Any], **hooks: Any) -> None:
        super().__init__(settings, **hooks)
        self.sent: list[Job] = []
        self.is_up = False

    @property
    def is_alive(self) -> bool:
        return self.is_up

    async def start(self, timeout: float) -> tuple[ModelInfo, ...]:
        self.is_up = True
        return (ModelInfo("tiny", "here", 60, 20, True, True, search={}),)

    def send(self, job: Job) -> None:
        self.running.add(job.id)
        self.sent.append(job)

    def cancel(self, job_id: int) -> None:
        self.running.discard(job_id)

    async def close(self, patience: float) -> None:
        self.is_up = False

    def finish(self, job_id: int) -> None:
        seconds: dict[str, float] = {}
        self._handle({"kind": "done", "id": job_id, "seconds": seconds, "batch": 1})


def with_slow(story: Callable[[Engine, SlowProcess], Awaitable[None]], **options: Any) -> None:
    made: list[SlowProcess] = []

    def new(settings: dict[str, Any], **hooks: Any) -> SlowProcess:
        made.append(SlowProcess(settings, **hooks))
        return made[-1]

    async def run() -> None:
        engine = Engine({"models": {}}, ServerOptions(**options), new_process=new)
        await engine.start()
        await story(engine, made[0])
        await engine.stop()

    asyncio.run(run())


def test_an_engine_that_did_not_start_says_so_for_good() -> None:
    class Broken(SlowProcess):
        async def start(self, timeout: float) -> tuple[ModelInfo, ...]:
            raise ValueError("unexpected kwargs")

    engine = Engine({"models": {}}, ServerOptions(), new_process=Broken)
    with pytest.raises(ValueError, match="unexpected kwargs"):
        asyncio.run(engine.start())
    assert engine.why_not == "the model could not be loaded"


def test_a_full_queue_refuses_and_what_leaves_makes_room() -> None:
    async def story(engine: Engine, process: SlowProcess) -> None:
        tickets = [engine.submit(job(engine), "me") for _ in range(5)]
        assert (len(process.sent), engine.num_queued) == (2, 3)
        with pytest.raises(EngineError, match="too many") as refusal:
            engine.submit(job(engine), "me")
        assert refusal.value.status == 429 and refusal.value.retry_after >= 1
        tickets[4].cancel()  # out of the queue
        tickets[0].cancel()  # out of the process, whose place goes to the next
        assert (len(process.sent), engine.num_queued) == (3, 1)
        assert process.running == {tickets[1].job.id, tickets[2].job.id}
        process.finish(tickets[1].job.id)
        assert (await collect(tickets[1]))[-1]["seconds"]["total"] >= 0
        assert process.running == {tickets[2].job.id, tickets[3].job.id}
        other = engine.submit(job(engine), "another")
        engine.drain()
        with pytest.raises(EngineError, match="shutting down"):
            engine.submit(job(engine), "me")
        for ticket in (tickets[2], tickets[3], other):
            process.finish(ticket.job.id)
            assert (await collect(ticket))[-1]["kind"] == "done"
        assert engine.num_running == engine.num_queued == 0

    with_slow(story, max_batch=1, max_queue=3)


def test_a_request_that_takes_too_long_is_let_go() -> None:
    async def story(engine: Engine, process: SlowProcess) -> None:
        ticket = engine.submit(job(engine), "me")
        with pytest.raises(EngineError, match="time limit") as refusal:
            await collect(ticket)
        assert refusal.value.status == 504
        assert not process.running and engine.num_running == 0

    with_slow(story, request_seconds=0.05)
