"""Refusing work that would not be taken, cheaply: before its body is parsed, and not too often."""

import asyncio
import time

from starlette.types import ASGIApp, Receive, Scope, Send

from dvs2s.serving.client import EngineClient
from dvs2s.serving.errors import engine_response

_KEPT = 1.0
_PROMPT, _LONGEST = 200.0, 1.0


class Shed:
    """Refuses work for which there is no room, and keeps a place for what it lets through.

    Refusals above 200 a second wait for their turn, a second at most: clients that come back at
    once would otherwise take the time in which others are answered.

    Args:
        app: what is inside.
        engine: asked whether it has room.
        paths: where work is asked for.
    """

    def __init__(self, app: ASGIApp, engine: EngineClient, paths: frozenset[str]) -> None:
        self._app, self._engine, self._paths = app, engine, paths
        self._pace = Pace(_PROMPT, _LONGEST)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] not in self._paths or scope["method"] != "POST":
            await self._app(scope, receive, send)
            return
        client = client_of(scope)
        refusal = self._engine.refusal(client)
        if refusal is None:
            place = scope["state"]["place"] = Place(self._engine, client)
            try:
                await self._app(scope, receive, send)
            finally:
                place.leave()
            return
        scope["state"]["shed"] = scope["path"]
        seconds = self._pace.wait(time.monotonic())
        if seconds:
            await asyncio.sleep(seconds)
        await engine_response(refusal)(scope, receive, send)


class Place:
    """A place kept in the queue until its job is handed in or given up, a second at most.

    Many requests may arrive before the first of them is read: without places all would be let
    through. A slow body does not keep its place.

    Args:
        engine: whose queue.
        client: for whom.
    """

    def __init__(self, engine: EngineClient, client: str) -> None:
        self._engine, self._client, self._is_kept = engine, client, True
        engine.expect(client)
        self._timer = asyncio.get_running_loop().call_later(_KEPT, self.leave)

    def leave(self) -> None:
        """Gives it back; once."""
        if self._is_kept:
            self._is_kept = False
            self._timer.cancel()
            self._engine.unexpect(self._client)


class Pace:
    """Says how long each of many has to wait, so that they go at a rate.

    Args:
        rate: a second.
        longest: seconds that one waits, at most, whatever the rate becomes.
    """

    def __init__(self, rate: float, longest: float) -> None:
        self._interval, self._longest, self._next = 1.0 / rate, longest, 0.0

    def wait(self, now: float) -> float:
        """Returns the seconds that the one who comes now has to wait."""
        turn = min(max(self._next, now), now + self._longest)
        self._next = turn + self._interval
        return turn - now


def client_of(scope: Scope) -> str:
    """Returns who asks, for turns: the address of the connection."""
    return str(scope["client"][0]) if scope.get("client") else "local"
