"""The engine as the front process sees it: queue, supervision, restart, reload."""

import asyncio
import itertools
import logging
import math
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

from dvs2s.serving.client import EngineError
from dvs2s.serving.fairness import FairQueue
from dvs2s.serving.options import ServerOptions
from dvs2s.serving.process import EngineProcess
from dvs2s.serving.ticket import EngineTicket
from dvs2s.serving.wire import LAST_KINDS, Event, Job, ModelInfo

logger = logging.getLogger("dvs2s")

_WATCH = 0.5
_LONGEST_PAUSE = 30.0
_NOT_LOADED = "the model could not be loaded"
NewProcess = Callable[..., EngineProcess]


class Engine:
    """An ``EngineClient`` whose work is done by a process that is restarted when it dies.

    Args:
        settings: of the process: ``models``, ``device``, ``threads``, ``precision``.
        options: limits.
        new_process: makes the process; tests pass another.
    """

    def __init__(
        self,
        settings: dict[str, Any],
        options: ServerOptions,
        *,
        new_process: NewProcess = EngineProcess,
    ) -> None:
        self._options, self._new_process = options, new_process
        names = ("max_batch", "batch_cells", "batch_wait")
        self._settings = {**settings, **{name: getattr(options, name) for name in names}}
        self._queue: FairQueue[EngineTicket] = FairQueue(options.max_queue)
        self._expected: Counter[str] = Counter()  # jobs being read, by client
        self._tickets: dict[int, EngineTicket] = {}
        self._ids = itertools.count(1)
        self._current: EngineProcess | None = None
        self._retiring: set[EngineProcess] = set()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._models: tuple[ModelInfo, ...] = ()
        self._failure = "the model is loading"
        self._is_draining = False
        self._recent: list[float] = []
        self.restarts = 0

    @property
    def ready(self) -> bool:
        """Whether jobs are taken."""
        return not self.why_not

    @property
    def why_not(self) -> str:
        """Why it is not ready, or nothing."""
        if self._is_draining:
            return "the server is shutting down"
        if self._current is None or not self._current.is_alive:
            return self._failure
        return ""

    @property
    def models(self) -> tuple[ModelInfo, ...]:
        """The models, the default first."""
        return self._models

    @property
    def num_queued(self) -> int:
        """Jobs that wait for the engine process."""
        return len(self._queue)

    @property
    def num_running(self) -> int:
        """Jobs that the engine process has."""
        return len(self._tickets)

    @property
    def pid(self) -> int:
        """The engine process's id, 0 for none."""
        return self._current.pid if self._current else 0

    def new_id(self) -> int:
        """Returns an id that no other job has."""
        return next(self._ids)

    def submit(self, job: Job, client: str) -> EngineTicket:
        """Hands a job in; see ``EngineClient.submit``."""
        refusal = self.refusal(client)
        if refusal is not None:
            raise refusal
        ticket = EngineTicket(
            job, client, seconds=self._options.request_seconds, forget=self.forget
        )
        loser = self._queue.put(client, ticket)
        if loser is not None:
            loser.put(self._full())
        self._pump()
        return ticket

    def refusal(self, client: str) -> EngineError | None:
        """Returns why a job of this client would not be taken now."""
        if self.why_not:
            return EngineError(self.why_not, 503, 2)
        coming = self._expected.total() - self._spare()
        has_room = self._queue.has_room(client, coming, self._expected[client])
        return None if has_room else self._full()

    def expect(self, client: str) -> None:
        """Keeps a place for a job of this client."""
        self._expected[client] += 1

    def unexpect(self, client: str) -> None:
        """Gives a kept place back."""
        self._expected[client] -= 1
        if not self._expected[client]:
            del self._expected[client]

    def _spare(self) -> int:
        """Returns how many more jobs the process takes."""
        busy = len(self._current.running) if self._current else 0
        return max(0, 2 * self._options.max_batch - busy)

    def _full(self) -> EngineError:
        return EngineError("too many requests wait already", 429, self._patience())

    def forget(self, ticket: EngineTicket) -> None:
        """Takes a job back from the queue or the process."""
        self._queue.remove(ticket.client, ticket)
        if self._tickets.pop(ticket.job.id, None) is not None:
            for process in self._processes():
                process.cancel(ticket.job.id)
            self._pump()

    async def start(self) -> None:
        """Starts the process and the watch over it.

        Raises:
            RuntimeError: the models could not be loaded.
        """
        try:
            await self._replace()
        except Exception:
            self._failure = _NOT_LOADED
            raise
        self._spawn(self._watch())

    async def reload(self) -> None:
        """Loads the checkpoints anew beside the running process, then changes over.

        Jobs at work are finished by the old process; if loading fails it goes on.

        Raises:
            RuntimeError: the models could not be loaded; nothing has changed.
        """
        former = self._current
        await self._replace()
        if former is not None and former.is_alive:
            self._retiring.add(former)
            self._spawn(self._retire(former))
        logger.info("reloaded: %s", ", ".join(m.source for m in self._models))

    def drain(self) -> None:
        """Takes no more jobs; those at work and in the queue are finished."""
        self._is_draining = True

    async def stop(self) -> None:
        """Ends all processes and tasks; what still waits is refused."""
        self.drain()
        for task in list(self._tasks):
            task.cancel()
        for process in self._processes():
            await process.close(5.0)
        self._refuse_all("the server is shutting down")

    async def _replace(self) -> None:
        process = self._new_process(self._settings, on_event=self._take, on_end=self._ended)
        try:
            self._models = await process.start(self._options.start_seconds)
        except BaseException:
            process.kill()
            raise
        self._current, self._failure = process, ""
        self._pump()

    async def _retire(self, process: EngineProcess) -> None:
        limit = time.monotonic() + self._options.request_seconds
        while process.running and time.monotonic() < limit:
            await asyncio.sleep(0.05)
        await process.close(1.0)
        self._retiring.discard(process)

    async def _watch(self) -> None:
        """Restarts the process when it has died or gone silent, with longer and longer pauses."""
        pause = 0.1
        while True:
            await asyncio.sleep(_WATCH if self._current is not None else pause)
            if self._current is not None:
                silence = time.monotonic() - self._current.last_sign
                if silence > self._options.engine_silence:
                    logger.error("the engine said nothing for %.0f seconds: killed", silence)
                    self._current.kill()
                pause = 0.1
                continue
            self.restarts += 1
            try:
                await self._replace()
                logger.warning("the engine process was restarted: now %d", self.pid)
            except (RuntimeError, OSError) as error:
                self._failure = _NOT_LOADED
                pause = min(2 * pause, _LONGEST_PAUSE)
                logger.error("the engine does not start (%s); next try in %.1f s", error, pause)

    def _ended(self, process: EngineProcess) -> None:
        for job_id in list(process.running):
            ticket = self._tickets.pop(job_id, None)
            if ticket is not None:
                ticket.put(EngineError("the engine stopped while answering; ask again", 503, 1))
        process.running.clear()
        if process is self._current:
            self._current, self._failure = None, "the engine is being restarted"
            if not self._is_draining:
                logger.error("the engine process %d has ended", process.pid)

    def _take(self, process: EngineProcess, event: Event) -> None:
        ticket = self._tickets.get(event["id"])
        if ticket is None:
            return
        if event["kind"] in LAST_KINDS:
            del self._tickets[event["id"]]
            self._recent = [*self._recent[-63:], time.monotonic()]
            self._pump()
        ticket.put(event)

    def _pump(self) -> None:
        """Keeps the process in work for two batches; the rest waits where it can be ordered."""
        process = self._current
        while process and process.is_alive and self._queue and self._spare():
            ticket = self._queue.get()
            ticket.started = time.monotonic()
            self._tickets[ticket.job.id] = ticket
            process.send(ticket.job)

    def _patience(self) -> int:
        """Returns the seconds in which the queue should be half empty at the recent rate."""
        if len(self._recent) < 2:
            return 1
        rate = len(self._recent) / max(time.monotonic() - self._recent[0], 1e-3)
        return max(1, min(30, math.ceil(len(self._queue) / 2 / rate)))

    def _refuse_all(self, reason: str) -> None:
        while self._queue:
            self._queue.get().put(EngineError(reason, 503, 2))
        for ticket in self._tickets.values():
            ticket.put(EngineError(reason, 503, 2))
        self._tickets.clear()

    def _processes(self) -> list[EngineProcess]:
        return [p for p in (self._current, *self._retiring) if p is not None]

    def _spawn(self, work: Any) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
