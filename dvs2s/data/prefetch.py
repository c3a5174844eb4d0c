"""Batches made ahead, by a thread, while the last one is computed."""

import queue
import threading
from collections.abc import Mapping
from typing import Any

from dvs2s.data.batch import Batch
from dvs2s.data.loader import Loader


class Prefetched:
    """The batches of a loader in its order, the next few of them made already.

    The state is that of what was handed out: batches that wait are made again after a resume. One
    thread makes them, so that their order and content do not depend on how many wait.

    Args:
        loader: of the batches; not to be used by others any more.
        depth: batches that may wait, at least 0; 0 makes each when it is asked for.
        pin: puts them into page-locked memory, from which a GPU copies while it computes.

    Raises:
        ValueError: depth below 0.
    """

    def __init__(self, loader: Loader, *, depth: int, pin: bool = False) -> None:
        if depth < 0:
            raise ValueError(f"depth must be at least 0, got {depth}: 0 makes no batch ahead")
        self._loader, self._depth, self._pin = loader, depth, pin
        self._state = loader.state_dict()
        self._worker: _Worker | None = None

    def __next__(self) -> Batch:
        if self._depth == 0:
            return self._made()
        if self._worker is None:
            self._worker = _Worker(self._made, self._loader.state_dict, self._depth)
        batch, self._state = self._worker.take()
        return batch

    def state_dict(self) -> dict[str, int]:
        """Returns the place behind the batch that was handed out last."""
        return dict(self._state) if self._depth else self._loader.state_dict()

    def load_state_dict(self, state: Mapping[str, int]) -> None:
        """Goes to a place that ``state_dict`` returned; batches that wait are dropped."""
        self.close()
        self._loader.load_state_dict(state)
        self._state = dict(state)

    def close(self) -> None:
        """Ends the thread; the next batch starts another one, at the loader's own place."""
        if self._worker is not None:
            self._worker.close()
            self._worker = None

    def _made(self) -> Batch:
        batch = next(self._loader)
        return batch.pinned() if self._pin else batch


class _Worker:
    """The thread, and the batches that wait, each with the loader's place behind it."""

    def __init__(self, make: Any, state: Any, depth: int) -> None:
        self._make, self._state = make, state
        self._queue: queue.Queue[Any] = queue.Queue(depth)
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="batches", daemon=True)
        self._thread.start()

    def take(self) -> tuple[Batch, dict[str, int]]:
        found = self._queue.get()
        if isinstance(found, BaseException):
            raise found
        batch, state = found
        return batch, state

    def close(self) -> None:
        self._over.set()
        while self._thread.is_alive():
            try:
                self._queue.get_nowait()
            except queue.Empty:
                self._thread.join(timeout=0.01)

    def _run(self) -> None:
        while not self._over.is_set():
            try:
                made: Any = (self._make(), self._state())
            except BaseException as error:  # its place is where the batch was asked for
                made = error
            self._queue.put(made)
            if isinstance(made, BaseException):
                return
