"""``POST /v1/chat/completions`` and ``GET /v1/models`` as OpenAI's clients expect them."""

import time
from collections.abc import AsyncIterator
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse

from dvs2s.serving.client import Ticket
from dvs2s.serving.schemas import ChatRequest, ChatResponse, ModelCard, ModelList
from dvs2s.serving.services import Services
from dvs2s.serving.streaming import event_stream, last_event, sse, until_left
from dvs2s.serving.wire import Event, ModelInfo


def openai_router(services: Services) -> APIRouter:
    """Returns the routes."""
    router = APIRouter(tags=["OpenAI-compatible"])

    @router.post(
        "/v1/chat/completions",
        response_model=ChatResponse,
        responses=services.refusals,
        summary="Answer a conversation",
    )
    async def chat(body: ChatRequest, request: Request) -> Response:
        """Answers a conversation; the turns that the model was trained on are read."""
        planner = services.planner
        job = planner.chat_job(body, services.engine.new_id())
        info = planner.model(job.model)
        ticket = services.submit(job, request)
        head = {
            "id": f"chatcmpl-{services.name(request)}",
            "created": int(time.time()),
            "model": info.name,
            "system_fingerprint": info.source,
        }
        if body.stream:
            wants_usage = bool(body.stream_options and body.stream_options.include_usage)
            single = job.search["num_best"] == 1
            chunks = _chunks(services, request, ticket, head, single=single, usage=wants_usage)
            return event_stream(ticket, chunks)
        done = await until_left(request, last_event(ticket))
        services.answered(request, done)
        return JSONResponse(_completion(head, done))

    @router.get("/v1/models", response_model=ModelList, responses=services.refusals)
    async def models() -> Response:
        """Lists the models, the default first."""
        services.planner  # noqa: B018  # 503 while nothing is loaded
        cards = [_card(info) for info in services.engine.models]
        return JSONResponse({"object": "list", "data": cards})

    @router.get("/v1/models/{name}", response_model=ModelCard, responses=services.refusals)
    async def model(name: str) -> Response:
        """Describes one model."""
        return JSONResponse(_card(services.planner.model(name)))

    return router


def _card(info: ModelInfo) -> dict[str, Any]:
    return {
        "id": info.name,
        "object": "model",
        "created": info.created,
        "owned_by": "dvs2s",
        "dvs2s": {
            "source": info.source,
            "words": info.words,
            "fixed_words": info.fixed,
            "chooses_words": info.predicts,
            "sane_outside_of_T": info.sane_outside,
            "search": info.search,
            "turns": info.turns,
            "parameters": info.parameters,
            "device": info.device,
            "precision": info.precision,
            "kernels": info.kernels,
        },
    }


def _usage(done: Event) -> dict[str, int]:
    words = sum(len(reply["tokens"]) for reply in done["replies"])
    prompt = int(done["prompt"])
    return {
        "prompt_tokens": prompt,
        "completion_tokens": words,
        "total_tokens": prompt + words,
    }


def _completion(head: dict[str, Any], done: Event) -> dict[str, Any]:
    choices = [
        {
            "index": index,
            "message": {"role": "assistant", "content": reply["text"], "refusal": None},
            "finish_reason": reply["finish"],
            "logprobs": None,
        }
        for index, reply in enumerate(done["replies"])
    ]
    return {**head, "object": "chat.completion", "choices": choices, "usage": _usage(done)}


async def _chunks(
    services: Services,
    request: Request,
    ticket: Ticket,
    head: dict[str, Any],
    *,
    single: bool,
    usage: bool,
) -> AsyncIterator[str]:
    """Yields OpenAI's chunks; several choices come whole, because their order is known last."""

    def chunk(index: int, delta: dict[str, str], finish: str | None = None) -> str:
        choice = {"index": index, "delta": delta, "finish_reason": finish, "logprobs": None}
        return sse({**head, "object": "chat.completion.chunk", "choices": [choice]})

    start, is_first = time.perf_counter(), True
    yield chunk(0, {"role": "assistant", "content": ""})
    async for event in ticket.events():
        if event["kind"] == "text" and single:
            if is_first:
                services.metrics.first_text.observe(time.perf_counter() - start)
                is_first = False
            yield chunk(0, {"content": event["text"]})
        elif event["kind"] == "done":
            services.answered(request, event)
            for index, reply in enumerate(event["replies"]):
                if not single:
                    yield chunk(index, {"role": "assistant", "content": reply["text"]})
                yield chunk(index, {}, reply["finish"])
            if usage:
                last = {"object": "chat.completion.chunk", "choices": [], "usage": _usage(event)}
                yield sse({**head, **last})
    yield sse("[DONE]")
