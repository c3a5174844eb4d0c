"""What every request passes first: limits of size and time, the key, headers, the log.

Plain ASGI, because the usual middleware base class hides disconnects from the handlers.
"""

import asyncio
import hmac
import json
import logging
import re
import secrets
import time
from collections.abc import Callable
from typing import Any

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from dvs2s.serving.errors import error_response
from dvs2s.serving.metrics import Metrics

logger = logging.getLogger("dvs2s.requests")

_HEADERS = {
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=()",
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
        "connect-src 'self'; manifest-src 'self'; base-uri 'none'; form-action 'none'; "
        "frame-ancestors 'none'"
    ),
}
_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")


class Observe:
    """Gives each request an id, adds the security headers, counts it and logs it.

    Args:
        app: what is inside.
        metrics: takes status and time by route.
    """

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app, self._metrics = app, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = _header(scope, b"x-request-id")
        if not _REQUEST_ID.fullmatch(request_id):
            request_id = secrets.token_hex(8)
        scope.setdefault("state", {})["request_id"] = request_id
        start, status = time.perf_counter(), 499  # nobody was answered: the client had left

        async def sending(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                extra = {**_HEADERS, "x-request-id": request_id}
                there = {name for name, _ in message["headers"]}
                message["headers"] = [
                    *message["headers"],
                    *(
                        (k.encode(), v.encode())
                        for k, v in extra.items()
                        if k.encode() not in there
                    ),
                ]
            await send(message)

        try:
            await self._app(scope, receive, sending)
        finally:
            self._note(scope, request_id, status, time.perf_counter() - start)

    def _note(self, scope: Scope, request_id: str, status: int, seconds: float) -> None:
        state = scope["state"]
        route = state.get("shed") or getattr(scope.get("route"), "path", "other")
        self._metrics.requests.labels(route, str(status)).inc()
        self._metrics.latency.labels(route).observe(seconds)
        entry: dict[str, Any] = {"id": request_id, "method": scope["method"], "route": route}
        entry |= {"status": status, "seconds": round(seconds, 4), **state.get("log", {})}
        logger.info(json.dumps(entry))  # ASCII: a control character in it stays escaped


class Limit:
    """Refuses a body that is too long or too slow, 413 and 408.

    Args:
        app: what is inside.
        max_body: bytes.
        seconds: for the whole body.
    """

    def __init__(self, app: ASGIApp, *, max_body: int, seconds: float) -> None:
        self._app, self._max_body, self._seconds = app, max_body, seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        declared = _header(scope, b"content-length")
        if declared.isdigit() and int(declared) > self._max_body:
            await self._too_long()(scope, receive, send)
            return
        await self._app(scope, self._limited(receive), send)

    def _limited(self, receive: Receive) -> Receive:
        deadline = time.monotonic() + self._seconds
        received, is_complete = 0, False

        async def limited() -> Message:
            nonlocal received, is_complete
            if is_complete:
                return await receive()  # what comes now is that the client leaves
            try:
                async with asyncio.timeout(max(0.0, deadline - time.monotonic())):
                    message = await receive()
            except TimeoutError:
                raise HTTPException(408, "the body came too slowly", _CLOSE) from None
            received += len(message.get("body", b""))
            if received > self._max_body:
                raise HTTPException(413, self._reason, _CLOSE)
            is_complete = not message.get("more_body", False)
            return message

        return limited

    @property
    def _reason(self) -> str:
        return f"a request may have at most {self._max_body} bytes"

    def _too_long(self) -> ASGIApp:
        return error_response(self._reason, 413, headers=_CLOSE)


_CLOSE = {"Connection": "close"}


class RequireKey:
    """Refuses what does not bring the key, 401; the page itself and the probes are open.

    Args:
        app: what is inside.
        key: the key; nothing is asked for when it is empty.
        is_open: whether a path may be read without it.
    """

    def __init__(self, app: ASGIApp, key: str, is_open: Callable[[str], bool]) -> None:
        self._app, self._key, self._is_open = app, key.encode(), is_open

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and self._key and not self._is_open(scope["path"]):
            given = _header(scope, b"authorization").encode("latin-1")
            kind, _, value = given.partition(b" ")
            right = hmac.compare_digest(value.strip(), self._key)
            if kind.lower() != b"bearer" or not right:
                refusal = error_response(
                    "this server asks for a key: Authorization: Bearer KEY",
                    401,
                    code="invalid_api_key",
                    headers={"WWW-Authenticate": "Bearer"},
                )
                await refusal(scope, receive, send)
                return
        await self._app(scope, receive, send)


def _header(scope: Scope, name: bytes) -> str:
    for key, value in scope["headers"]:
        if key == name:
            return str(value.decode("latin-1"))
    return ""
