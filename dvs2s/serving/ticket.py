"""One job as the front process follows it: its events as they come, its time limit."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable

from dvs2s.serving.client import EngineError
from dvs2s.serving.wire import LAST_KINDS, Event, Job


class EngineTicket:
    """One job in the engine's hands.

    Args:
        job: what is asked.
        client: who asks.
        seconds: after which it is let go.
        forget: takes it back from wherever it is.
    """

    def __init__(
        self,
        job: Job,
        client: str,
        *,
        seconds: float,
        forget: Callable[["EngineTicket"], None],
    ) -> None:
        self.job, self.client = job, client
        self.arrived = time.monotonic()
        self.started: float | None = None
        self._forget, self._deadline = forget, self.arrived + seconds
        self._events: asyncio.Queue[Event | EngineError] = asyncio.Queue()
        self.is_over = False

    def put(self, event: Event | EngineError) -> None:
        """Passes an event on to whoever waits."""
        if not self.is_over:
            self.is_over = isinstance(event, EngineError) or event["kind"] in LAST_KINDS
            self._events.put_nowait(event)

    async def events(self) -> AsyncIterator[Event]:
        """Yields the job's events, ``done`` last.

        Raises:
            EngineError: it is not going to be answered, 504 when it took too long.
        """
        while True:
            left = self._deadline - time.monotonic()
            try:
                async with asyncio.timeout(max(0.0, left)):  # makes no task, as wait_for does
                    event = await self._events.get()
            except TimeoutError:
                self.cancel()
                raise EngineError("the time limit for one request has passed", 504, 1) from None
            if isinstance(event, EngineError):
                raise event
            if event["kind"] == "error":
                raise EngineError(str(event["reason"]), int(event["status"]))
            if event["kind"] == "done":
                started = self.arrived if self.started is None else self.started
                event["seconds"] = {"queue": started - self.arrived, **event["seconds"]}
                event["seconds"]["total"] = time.monotonic() - self.arrived
            yield event
            if event["kind"] == "done":
                return

    def cancel(self) -> None:
        """Lets the job go, wherever it is."""
        if not self.is_over:
            self.is_over = True
            self._forget(self)
