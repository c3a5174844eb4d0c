"""Refusals in the shape that clients of the OpenAI protocol expect; nothing received is echoed."""

import logging
from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from dvs2s.serving.client import EngineError

logger = logging.getLogger("dvs2s")

_TYPES = {
    401: "authentication_error",
    404: "not_found_error",
    429: "rate_limit_error",
    503: "unavailable_error",
    504: "timeout_error",
}
_NOWHERE = "there is nothing at this address: /docs and /openapi.json list what there is"


class ApiError(Exception):
    """A request that is refused.

    Args:
        message: what is wrong and how to mend it.
        status: of the reply.
        param: which field is at fault.
        code: for programs.
    """

    def __init__(
        self, message: str, *, status: int = 400, param: str | None = None, code: str | None = None
    ) -> None:
        super().__init__(message)
        self.message, self.status, self.param, self.code = message, status, param, code


def body_of(message: str, status: int, param: str | None, code: str | None) -> dict[str, Any]:
    """Returns the error as an object."""
    fallback = "invalid_request_error" if status < 500 else "server_error"
    return {
        "error": {
            "message": message,
            "type": _TYPES.get(status, fallback),
            "param": param,
            "code": code,
        }
    }


def error_response(
    message: str,
    status: int,
    *,
    param: str | None = None,
    code: str | None = None,
    headers: Mapping[str, str] | None = None,
) -> Response:
    """Returns the error as a response."""
    content = body_of(message, status, param, code)
    return JSONResponse(content, status, headers=dict(headers or {}))


def engine_response(error: EngineError) -> Response:
    """Returns a refusal of the engine as a response."""
    code = {429: "queue_full", 504: "timeout"}.get(error.status)
    return error_response(error.reason, error.status, code=code, headers=engine_headers(error))


def engine_headers(error: EngineError) -> dict[str, str]:
    """Returns when to ask again."""
    return {"Retry-After": str(error.retry_after)} if error.retry_after else {}


def add_handlers(app: FastAPI) -> None:
    """Makes every refusal of the application an ``ApiError`` in JSON."""

    async def refused(request: Request, error: Exception) -> Response:
        assert isinstance(error, ApiError)
        return error_response(error.message, error.status, param=error.param, code=error.code)

    async def not_answered(request: Request, error: Exception) -> Response:
        assert isinstance(error, EngineError)
        return engine_response(error)

    async def invalid(request: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        kind = request.headers.get("content-type", "")
        message, param = _explained(error, is_json="json" in kind.lower())
        return error_response(message, 400, param=param)

    async def http(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        message = _NOWHERE if error.status_code == 404 else str(error.detail)
        return error_response(message, error.status_code, headers=error.headers)

    async def broken(request: Request, error: Exception) -> Response:
        return error_response("something broke in the server; its log says what", 500)

    app.add_exception_handler(ApiError, refused)
    app.add_exception_handler(EngineError, not_answered)
    app.add_exception_handler(RequestValidationError, invalid)
    app.add_exception_handler(HTTPException, http)
    app.add_exception_handler(Exception, broken)


def _explained(error: RequestValidationError, *, is_json: bool) -> tuple[str, str | None]:
    """Returns the first thing that is wrong, without the value: it may be anything; and where.

    Args:
        error: what was found.
        is_json: whether the body was declared to be JSON; otherwise it has not been parsed.
    """
    first = error.errors()[0]
    if first["type"] == "json_invalid":
        return "the body is not JSON", None
    if not is_json and tuple(first["loc"]) == ("body",):
        return "the body must be JSON, sent with the header Content-Type: application/json", None
    place = ".".join(str(part) for part in first["loc"] if part != "body")[:100]
    place = place.encode("ascii", "replace").decode("ascii")
    count = len(error.errors()) - 1
    more = f" (and {count} more)" if count else ""
    return f"{place or 'the body'}: {first['msg']}{more}", place or None
