"""The pages: files of the package, read once, so that no request ever names a path."""

import hashlib
from importlib.resources import files

from fastapi import APIRouter, Request, Response

_TYPES = {
    "html": "text/html; charset=utf-8",
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
}
_ADDRESSES = {"index.html": "/", "bench.html": "/bench", "api.html": "/docs"}


def pages() -> dict[str, tuple[bytes, str]]:
    """Returns the content and type of every address."""
    found = {}
    for file in files("dvs2s.serving").joinpath("static").iterdir():
        kind = _TYPES.get(file.name.rpartition(".")[2])
        if kind is not None:
            address = _ADDRESSES.get(file.name, f"/static/{file.name}")
            found[address] = (file.read_bytes(), kind)
    return found


def pages_router() -> APIRouter:
    """Returns a route for each address."""
    router = APIRouter(include_in_schema=False)
    for address, (content, kind) in pages().items():
        router.add_api_route(address, _page(content, kind), methods=["GET", "HEAD"])
    return router


def _page(content: bytes, kind: str):  # type: ignore[no-untyped-def]
    tag = f'"{hashlib.sha256(content).hexdigest()[:16]}"'
    headers = {"ETag": tag, "Cache-Control": "no-cache"}

    async def page(request: Request) -> Response:
        if request.headers.get("if-none-match") == tag:
            return Response(status_code=304, headers=headers)
        return Response(content, media_type=kind, headers=headers)

    return page
