"""What the routes share."""

import logging
from dataclasses import dataclass
from typing import Any

from fastapi import Request

from dvs2s.serving.client import EngineClient, EngineError, Ticket
from dvs2s.serving.metrics import Metrics
from dvs2s.serving.options import ServerOptions
from dvs2s.serving.plan import Planner
from dvs2s.serving.schemas import ErrorResponse
from dvs2s.serving.shedding import client_of
from dvs2s.serving.wire import Event, Job

logger = logging.getLogger("dvs2s.requests")

_REFUSALS = {
    400: "a field is wrong or asks for what the model cannot do",
    401: "the key is missing or wrong",
    404: "there is no such model",
    408: "the body came too slowly",
    413: "the body is too long",
    429: "too many requests wait; ask again after Retry-After seconds",
    500: "something broke in the server",
    503: "the model is loading, or the server shutting down",
    504: "the time limit has passed",
}


@dataclass(frozen=True)
class Services:
    """Engine, counters and limits of one application."""

    engine: EngineClient
    metrics: Metrics
    options: ServerOptions

    @property
    def refusals(self) -> dict[int | str, dict[str, Any]]:
        """The responses that say no, for the API's description."""
        return {
            status: {"model": ErrorResponse, "description": text}
            for status, text in _REFUSALS.items()
        }

    @property
    def planner(self) -> Planner:
        """Makes jobs for the models that are loaded now.

        Raises:
            EngineError: none is loaded yet.
        """
        if not self.engine.models:
            raise EngineError(self.engine.why_not or "the model is loading", 503, 2)
        return Planner(self.engine.models, self.options)

    def submit(self, job: Job, request: Request) -> Ticket:
        """Hands a job in for the client that sent a request.

        Raises:
            EngineError: it is not taken.
        """
        if self.options.log_text:
            self.note(request, turns=job.turns)
        place = request.scope["state"].get("place")
        if place is not None:
            place.leave()
        return self.engine.submit(job, client_of(request.scope))

    def answered(self, request: Request, done: Event) -> None:
        """Counts an answer and leaves its figures for the log."""
        self.metrics.answered(done)
        words = sum(len(reply["tokens"]) for reply in done["replies"])
        seconds = {stage: round(value, 4) for stage, value in done["seconds"].items()}
        self.note(request, words=words, batch=done["batch"], stages=seconds)
        if self.options.log_text:
            self.note(request, replies=[reply["text"] for reply in done["replies"]])

    def note(self, request: Request, **values: Any) -> None:
        """Adds to the request's line in the log."""
        request.scope["state"].setdefault("log", {}).update(values)

    def name(self, request: Request) -> str:
        """Returns the request's id."""
        return str(request.scope["state"]["request_id"])
