"""Answers that stop being made when the client leaves, streamed and not."""

import asyncio
import json
from collections.abc import AsyncIterator, Coroutine
from typing import Any, TypeVar

from fastapi import Request
from fastapi.responses import StreamingResponse

from dvs2s.serving.client import EngineError, Ticket
from dvs2s.serving.errors import ApiError, body_of
from dvs2s.serving.wire import Event

Result = TypeVar("Result")
LEFT = 499
"""Status in the log of a request whose client left; nobody sees it."""


async def until_left(request: Request, work: Coroutine[Any, Any, Result]) -> Result:
    """Returns the result of ``work``, which is cancelled when the client leaves.

    Raises:
        ApiError: the client has left.
    """
    try:
        async with asyncio.timeout(None) as patience:  # it is the client's leaving that ends it
            leaving = asyncio.ensure_future(_until_it_leaves(request, patience))
            try:
                return await work
            finally:
                leaving.cancel()
    except TimeoutError:
        if not patience.expired():
            raise
        raise ApiError("the client has left", status=LEFT) from None


async def _until_it_leaves(request: Request, patience: asyncio.Timeout) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
    patience.reschedule(0)


async def last_event(ticket: Ticket) -> Event:
    """Returns a job's ``done`` event.

    Raises:
        EngineError: it is not going to be answered.
    """
    try:
        async for event in ticket.events():
            if event["kind"] == "done":
                return event
    finally:
        ticket.cancel()
    raise EngineError("the engine ended without an answer", 500)


def event_stream(ticket: Ticket, chunks: AsyncIterator[str]) -> StreamingResponse:
    """Returns server-sent events; the job is cancelled when the client leaves.

    Args:
        ticket: of the job that the chunks are made from.
        chunks: the events, as ``sse`` writes them. An ``EngineError`` among them becomes an event
            of its own, because the status has been sent already.
    """

    async def guarded() -> AsyncIterator[str]:
        try:
            async for chunk in chunks:
                yield chunk
        except EngineError as error:
            yield sse(body_of(error.reason, error.status, None, None), "error")
        finally:
            ticket.cancel()

    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    return StreamingResponse(guarded(), media_type="text/event-stream", headers=headers)


def sse(data: Any, event: str = "") -> str:
    """Returns one server-sent event; the data are JSON in ASCII."""
    text = data if isinstance(data, str) else json.dumps(data, allow_nan=False)
    return f"event: {event}\ndata: {text}\n\n" if event else f"data: {text}\n\n"
