"""SIGINT, SIGTERM and SIGUSR1 as the wish to stop: after the update at hand, or at once."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from types import FrameType, TracebackType
from typing import Self

# SIGUSR1 is what batch systems send ahead of the end of a job's time.
STOPPING = tuple(
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGUSR1") if hasattr(signal, name)
)


@contextmanager
def handled(
    numbers: tuple[int, ...], handler: Callable[[int, FrameType | None], None]
) -> Iterator[None]:
    """Gives signals to a handler while the ``with`` block lasts; in the main thread only.

    Args:
        numbers: of the signals.
        handler: gets the number and the frame.
    """
    former = {number: signal.signal(number, handler) for number in numbers}
    try:
        yield
    finally:
        for number, one in former.items():
            # None: the handler was not set from Python and cannot be put back from it.
            signal.signal(number, signal.SIG_DFL if one is None else one)


@contextmanager
def stops_interrupt() -> Iterator[None]:
    """Makes every stopping signal a KeyboardInterrupt while the ``with`` block lasts.

    For the time before and after the loop, in which there is nothing to save. Outside of the
    main thread it does nothing.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    with handled(STOPPING, interrupt):
        yield


class StopSignal:
    """While the ``with`` block lasts, a stopping signal sets ``requested`` and nothing else.

    A second Ctrl-C raises KeyboardInterrupt at once. The former handlers come back at the
    end. Outside the main thread Python delivers no signals: only ``request`` works there.
    """

    def __init__(self) -> None:
        self._requested = False
        self._interrupts = 0
        self._handling = ExitStack()

    @property
    def requested(self) -> bool:
        """Whether a signal has come, or ``request`` was called."""
        return self._requested

    def request(self) -> None:
        """Asks for the stop without a signal."""
        self._requested = True

    def __enter__(self) -> Self:
        """Puts the handlers in place."""
        if threading.current_thread() is threading.main_thread():
            self._handling.enter_context(handled(STOPPING, self._note))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Puts the former handlers back."""
        self._handling.close()

    def _note(self, number: int, frame: FrameType | None) -> None:
        self._requested = True
        if number == signal.SIGINT:
            self._interrupts += 1
            if self._interrupts > 1:
                raise KeyboardInterrupt
