"""The application: routes and guards around an engine."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress

from fastapi import FastAPI
from starlette.middleware.cors import CORSMiddleware

from dvs2s import __version__
from dvs2s.serving.client import EngineClient
from dvs2s.serving.errors import add_handlers
from dvs2s.serving.guard import Limit, Observe, RequireKey
from dvs2s.serving.metrics import Metrics
from dvs2s.serving.openai_routes import openai_router
from dvs2s.serving.operations import operations_router
from dvs2s.serving.options import ServerOptions
from dvs2s.serving.pages import pages, pages_router
from dvs2s.serving.reply_route import reply_router
from dvs2s.serving.services import Services
from dvs2s.serving.shedding import Shed

logger = logging.getLogger("dvs2s")

_ABOUT = """A chatbot that picks a small vocabulary T for each message and says which words are in
it. `/v1/chat/completions` speaks OpenAI's protocol; `/v1/reply` tells everything."""

_WORK = frozenset({"/v1/chat/completions", "/v1/reply"})


def create_app(
    engine: EngineClient,
    options: ServerOptions,
    *,
    key: str = "",
    on_failure: Callable[[Exception], None] | None = None,
) -> FastAPI:
    """Returns the ASGI application; it starts and stops the engine with itself.

    Args:
        engine: answers.
        options: limits.
        key: asked for by everything but the pages and the probes; none when empty.
        on_failure: is told when the engine cannot be started; without it that is logged and
            every request is refused.
    """
    services = Services(engine, Metrics(engine), options)

    async def start() -> None:
        try:
            await engine.start()
        except Exception as error:  # of any kind: else it would show only when the server ends
            if on_failure is None:
                logger.error("the engine does not start: %s", error)
            else:
                on_failure(error)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        starting = asyncio.create_task(start())  # 503 is said meanwhile
        yield
        starting.cancel()
        with suppress(asyncio.CancelledError):
            await starting
        await engine.stop()

    app = FastAPI(
        title="dvs2s",
        version=__version__,
        description=_ABOUT,
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
    )
    add_handlers(app)
    for router in (openai_router(services), reply_router(services), operations_router(services)):
        app.include_router(router)
    app.include_router(pages_router())
    is_open = {"/healthz", "/readyz", "/openapi.json", *pages()}.__contains__
    # The last one added is the outermost.
    app.add_middleware(Limit, max_body=options.max_body, seconds=options.read_seconds)
    app.add_middleware(Shed, engine=engine, paths=_WORK)
    app.add_middleware(RequireKey, key=key, is_open=is_open)
    if options.origins:
        app.add_middleware(CORSMiddleware, allow_origins=options.origins, allow_headers=["*"])
    app.add_middleware(Observe, metrics=services.metrics)
    return app
