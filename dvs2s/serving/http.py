"""uvicorn with limits for the head of a request, and an orderly end."""

import asyncio
import contextlib
import logging
import signal
import sys
from collections.abc import Callable, Iterator
from typing import Any

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

logger = logging.getLogger("dvs2s")

_LONGEST_HEAD = 64 * 1024


def new_loop() -> asyncio.AbstractEventLoop:
    """Returns an event loop for the server: uvloop's, where it runs."""
    if sys.platform == "win32":
        return asyncio.new_event_loop()
    import uvloop

    return uvloop.new_event_loop()


def protocol(seconds: float) -> type[HttpToolsProtocol]:
    """Returns uvicorn's HTTP protocol, which closes a connection whose request does not come.

    Args:
        seconds: from the connection, or from the first byte of a further request, to the end of
            its head.
    """

    class Impatient(HttpToolsProtocol):
        """Closes connections on which no head is completed in time, or none of 64 KiB."""

        _timer: asyncio.TimerHandle | None = None
        _head: int | None = None  # bytes of a head that is not complete

        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            self._watch()

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            if self._head is not None:
                self._head += len(data)
                if self._head > _LONGEST_HEAD and not self.transport.is_closing():
                    self.send_400_response("The head of the request is too long.")
            if self._is_between_requests() and self._timer is None:
                self._watch()

        def on_message_begin(self) -> None:
            self._head = 0
            super().on_message_begin()

        def on_headers_complete(self) -> None:
            self._head = None
            super().on_headers_complete()

        def connection_lost(self, exc: Exception | None) -> None:
            if self._timer is not None:
                self._timer.cancel()
            super().connection_lost(exc)

        def _is_between_requests(self) -> bool:
            cycle = self.cycle
            return cycle is None or cycle.response_complete

        def _watch(self) -> None:
            seen = self.cycle
            self._timer = self.loop.call_later(seconds, self._close_if_still, seen)

        def _close_if_still(self, seen: Any) -> None:
            self._timer = None
            if self.cycle is seen and self._is_between_requests():
                self.transport.close()

    return Impatient


class Server(uvicorn.Server):
    """A server whose signals are ours: it finishes what is at work, stops the engine, and returns.

    uvicorn raises the signal once more at the end, so that the process dies of it before anything
    else is cleaned up.

    Args:
        config: of uvicorn.
        on_drain: is called when a signal asks for the end.
        on_reload: is called on SIGHUP.
    """

    def __init__(
        self,
        config: uvicorn.Config,
        *,
        on_drain: Callable[[], None],
        on_reload: Callable[[], None],
        on_listening: Callable[[int], None],
    ) -> None:
        super().__init__(config)
        self._on_drain, self._on_reload, self._on_listening = on_drain, on_reload, on_listening

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Handles SIGINT, SIGTERM and SIGHUP in the event loop; a second SIGINT does not wait."""
        if sys.platform == "win32":  # no handlers in the loop, no SIGHUP: uvicorn's own way
            with super().capture_signals():
                yield
            return
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._end, number)
        loop.add_signal_handler(signal.SIGHUP, self._on_reload)
        try:
            yield
        finally:
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                loop.remove_signal_handler(number)

    async def startup(self, sockets: Any = None) -> None:
        """Listens, and says where."""
        await super().startup(sockets)
        if self.started:
            port = self.servers[0].sockets[0].getsockname()[1]
            self._on_listening(port)

    def _end(self, number: int) -> None:
        if not self.should_exit:
            logger.info("finishing what is at work, then ending (Ctrl-C does not wait for it)")
        elif number == signal.SIGINT:
            logger.info("ending at once: what is at work is broken off")
            # each request that is broken off would print where it was
            logging.getLogger("uvicorn.error").disabled = True
        self._on_drain()
        self.handle_exit(number, None)
