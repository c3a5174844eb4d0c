"""``POST /v1/reply``: everything that the model knows about its answer."""

import time
from collections.abc import AsyncIterator
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse

from dvs2s.serving.client import Ticket
from dvs2s.serving.schemas import ReplyRequest, ReplyResponse
from dvs2s.serving.services import Services
from dvs2s.serving.streaming import event_stream, last_event, sse, until_left
from dvs2s.serving.wire import Event, Job


def reply_router(services: Services) -> APIRouter:
    """Returns the route."""
    router = APIRouter(tags=["dvs2s"])

    @router.post(
        "/v1/reply",
        response_model=ReplyResponse,
        responses=services.refusals,
        summary="Answer a message, with T and its β",
    )
    async def reply(body: ReplyRequest, request: Request) -> Response:
        """Answers a message; with `stream` as server-sent events `words`, `text` and `done`."""
        job = services.planner.reply_job(body, services.engine.new_id())
        ticket = services.submit(job, request)
        about = {"id": f"reply-{services.name(request)}", "model": job.model, "seed": _seed(job)}
        if body.stream:
            return event_stream(ticket, _events(services, request, ticket, about))
        done = await until_left(request, last_event(ticket))
        services.answered(request, done)
        return JSONResponse(_plain(done, about))

    return router


async def _events(
    services: Services, request: Request, ticket: Ticket, about: dict[str, Any]
) -> AsyncIterator[str]:
    start, is_first = time.perf_counter(), True
    async for event in ticket.events():
        if event["kind"] == "words":
            yield sse({**about, "vocabulary": event["vocabulary"]}, "words")
        elif event["kind"] == "text":
            if is_first:
                services.metrics.first_text.observe(time.perf_counter() - start)
                is_first = False
            yield sse({"text": event["text"]}, "text")
        elif event["kind"] == "done":
            services.answered(request, event)
            yield sse(_plain(event, about), "done")


def _plain(done: Event, about: dict[str, Any]) -> dict[str, Any]:
    names = ("replies", "vocabulary", "heard", "seconds", "batch")
    return {**about, **{name: done[name] for name in names}, "sources": done.get("sources")}


def _seed(job: Job) -> int | None:
    return job.seed if job.search["kind"] == "sampling" else None
