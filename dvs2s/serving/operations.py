"""Probes and counters."""

from fastapi import APIRouter, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel

from dvs2s.serving.services import Services


class Health(BaseModel):
    """Whether the process lives; whether it takes requests, and if not why."""

    status: str
    reason: str = ""


def operations_router(services: Services) -> APIRouter:
    """Returns the routes."""
    router = APIRouter(tags=["operations"])

    @router.get("/healthz", response_model=Health)
    async def health() -> Response:
        """Says that this process lives."""
        return JSONResponse({"status": "ok", "reason": ""})

    @router.get("/readyz", response_model=Health, responses={503: {"model": Health}})
    async def ready() -> Response:
        """Says whether requests are taken: models loaded, engine alive, not draining."""
        reason = services.engine.why_not
        status = {"status": "not ready" if reason else "ready", "reason": reason}
        return JSONResponse(status, 503 if reason else 200)

    @router.get("/metrics", responses={200: {"content": {"text/plain": {}}}})
    async def metrics() -> Response:
        """Returns the counters in Prometheus' text format."""
        return Response(services.metrics.text(), media_type="text/plain; version=0.0.4")

    return router
