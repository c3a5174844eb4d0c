"""Notices a worker that has died, while this one waits for it in the middle of an exchange."""

import os
import sys
import threading
import time
from datetime import timedelta
from types import TracebackType

from torch.distributed import TCPStore  # type: ignore[attr-defined]

from dvs2s.parallel.errors import lost_message

RESUME_ME = 75
"""Exit code of a worker that ends because of another one: the run can be started again."""

_BEAT = 3.0
_SILENCE = 30.0


class Watch:
    """While the ``with`` block lasts, says that this worker lives and listens to the others.

    A worker that nobody has heard from for ``silence`` seconds is dead, or as good as dead: this
    process then says so and ends at once, whatever exchange its main thread is blocked in. What is
    lost is what came after the last checkpoint. Every worker has to open and to close it.

    Args:
        rank: of this worker.
        size: number of workers.
        name: of the group, where a process opens several one after the other.
        beat: seconds between signs of life.
        silence: seconds without one after which a worker counts as dead.
    """

    def __init__(
        self,
        rank: int,
        size: int,
        *,
        name: str = "",
        beat: float = _BEAT,
        silence: float = _SILENCE,
    ) -> None:
        self._rank, self._size, self._beat, self._silence = rank, size, beat, silence
        self._name = name
        self._over, self._failed = threading.Event(), False
        self._thread = threading.Thread(target=self._run, name="watch", daemon=True)

    def __enter__(self) -> "Watch":
        """Starts the thread."""
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Ends the thread; tells the others when this worker has left in good order."""
        self._failed = kind is not None
        self._over.set()
        self._thread.join(timeout=2 * self._beat)

    def _run(self) -> None:
        try:
            # a connection of its own: the main thread may block its own for minutes
            store = TCPStore(
                os.environ["MASTER_ADDR"],
                int(os.environ["MASTER_PORT"]),
                is_master=False,
                timeout=timedelta(seconds=self._silence),
            )
            self._listen(store)
        except Exception as error:
            if not self._over.is_set():
                self._end(f"no connection to the first machine: {str(error).splitlines()[0]}")

    def _listen(self, store: TCPStore) -> None:
        prefix = f"dvs2s/{os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}/{self._name}"
        others = [rank for rank in range(self._size) if rank != self._rank]
        heard = {rank: (0, time.monotonic()) for rank in others}
        beats = 0
        while not self._over.wait(self._beat):
            beats = store.add(f"{prefix}/{self._rank}", 1)
            for rank in others:
                count, since = heard[rank]
                now = store.add(f"{prefix}/{rank}", 0)
                if now < 0:  # it has left in good order
                    continue
                if now != count:
                    heard[rank] = (now, time.monotonic())
                elif time.monotonic() - since > self._silence:
                    self._end(f"worker {rank} is silent for {self._silence:.0f} seconds")
        if not self._failed:
            store.add(f"{prefix}/{self._rank}", -beats - 1_000_000_000)

    def _end(self, reason: str) -> None:
        print(f"error: {lost_message(self._rank, self._size, reason)}", file=sys.stderr, flush=True)
        os._exit(RESUME_ME)
