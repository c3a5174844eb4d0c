"""Maps a function over chunks in several processes, results in order, in flat memory."""

import multiprocessing
import os
import signal
import threading
import time
import warnings
from collections.abc import Callable, Iterable, Iterator
from multiprocessing.connection import Connection
from typing import Any, TypeVar

from dvs2s.errors import DataError

_In = TypeVar("_In")
_Out = TypeVar("_Out")
_WATCH_SECONDS = 1.0


def map_in_order(
    function: Callable[[_In], _Out], chunks: Iterable[_In], *, workers: int
) -> Iterator[_Out]:
    """Yields function(chunk) for each chunk, in order; at most one chunk a worker is in flight.

    Workers ignore Ctrl-C (this process ends them) and end by themselves when this process dies.

    Args:
        function: picklable where processes cannot be forked; called in the workers.
        chunks: read as needed, never ahead of the workers.
        workers: number of processes; 1 calls the function in this one.

    Raises:
        ValueError: workers is below 1.
        DataError: a worker died, as when memory ran out.
    """
    if workers < 1:
        raise ValueError(f"workers must be at least 1, got {workers}")
    if workers == 1:
        yield from map(function, chunks)
        return
    pool = [_Worker(function) for _ in range(workers)]
    try:
        # Chunk k goes to worker k % workers: the order of results follows without bookkeeping.
        sent = 0
        for sent, chunk in enumerate(chunks, 1):
            worker = pool[(sent - 1) % workers]
            if sent > workers:
                yield worker.receive()
            worker.send(chunk)
        for k in range(max(0, sent - workers), sent):
            yield pool[k % workers].receive()
    finally:
        for worker in pool:
            worker.end()


class _Worker:
    def __init__(self, function: Callable[[Any], Any]) -> None:
        # Forked where possible: workers share the tokeniser's dictionaries. They call nothing but
        # the function, so threads of this process do not matter.
        methods = multiprocessing.get_all_start_methods()
        context: Any = multiprocessing.get_context("fork" if "fork" in methods else "spawn")
        self._connection, theirs = context.Pipe()
        self._process = context.Process(
            target=_serve, args=(theirs, function, os.getpid()), daemon=True
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            self._process.start()
        theirs.close()

    def send(self, chunk: Any) -> None:
        try:
            self._connection.send(chunk)
        except (BrokenPipeError, ConnectionResetError):
            raise self._died() from None

    def receive(self) -> Any:
        try:
            result, error = self._connection.recv()
        except (EOFError, ConnectionResetError):
            raise self._died() from None
        if error is not None:
            raise error
        return result

    def end(self) -> None:
        self._connection.close()
        self._process.terminate()
        self._process.join()
        self._process.close()

    def _died(self) -> DataError:
        self._process.join(timeout=5)
        return DataError(
            f"a worker process died (exit code {self._process.exitcode}), perhaps out of memory: "
            "try workers=1"
        )


def _serve(connection: Connection, function: Callable[[Any], Any], parent: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    threading.Thread(target=_end_with_parent, args=(parent,), daemon=True).start()
    while True:
        try:
            chunk = connection.recv()
        except (EOFError, OSError):
            return
        answer: tuple[Any, Exception | None]
        try:
            answer = (function(chunk), None)
        except Exception as error:
            answer = (None, error)
        try:
            connection.send(answer)
        except OSError:
            return


def _end_with_parent(parent: int) -> None:
    # A killed parent closes no pipe that a sibling has inherited, so the process id is watched.
    while os.getppid() == parent:
        time.sleep(_WATCH_SECONDS)
    os._exit(1)
