"""What the HTTP side asks of an engine; tests pass a fake one."""

from collections.abc import AsyncIterator
from typing import Protocol

from dvs2s.serving.wire import Event, Job, ModelInfo


class EngineError(Exception):
    """A job that the engine does not answer.

    Args:
        reason: for people.
        status: of the HTTP reply.
        retry_after: seconds after which to ask again; 0 for never.
    """

    def __init__(self, reason: str, status: int, retry_after: int = 0) -> None:
        super().__init__(reason)
        self.reason, self.status, self.retry_after = reason, status, retry_after


class Ticket(Protocol):
    """One job that was handed in."""

    def events(self) -> AsyncIterator[Event]:
        """Yields the job's events, ``done`` last.

        Raises:
            EngineError: it is not going to be answered.
        """
        ...

    def cancel(self) -> None:
        """Says that nobody waits any more; does nothing after the last event."""
        ...


class EngineClient(Protocol):
    """Answers jobs, whoever else is served."""

    @property
    def ready(self) -> bool:
        """Whether jobs are taken: models loaded, signs of life fresh, not draining."""
        ...

    @property
    def why_not(self) -> str:
        """Why it is not ready, or nothing."""
        ...

    @property
    def models(self) -> tuple[ModelInfo, ...]:
        """The models, the default first; empty before the first load."""
        ...

    @property
    def num_queued(self) -> int:
        """Jobs that wait."""
        ...

    @property
    def num_running(self) -> int:
        """Jobs that the engine process has."""
        ...

    def refusal(self, client: str) -> EngineError | None:
        """Returns why a job of this client would not be taken now, without looking at it."""
        ...

    def expect(self, client: str) -> None:
        """Keeps a place for a job that is still being read: many may arrive at once."""
        ...

    def unexpect(self, client: str) -> None:
        """Gives the place back: the job is about to be handed in, or will not be."""
        ...

    def new_id(self) -> int:
        """Returns an id that no other job of this engine has."""
        ...

    def submit(self, job: Job, client: str) -> Ticket:
        """Hands a job in.

        Args:
            job: its ``model`` is one of ``models``.
            client: who asks; clients are served in turn.

        Raises:
            EngineError: 429 when the queue is full, 503 when it is not ready.
        """
        ...

    async def start(self) -> None:
        """Starts; returns when ready or failed."""
        ...

    async def stop(self) -> None:
        """Ends the engine; jobs at work are lost, so drain first."""
        ...
