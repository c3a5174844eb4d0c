"""The engine process: loads the models, answers jobs from standard input on standard output.

It ends when its input does, so that it cannot outlive the front process.
"""

import ctypes
import logging
import os
import queue
import signal
import sys
import threading
import time
from collections import deque
from dataclasses import asdict
from typing import Any, BinaryIO

import torch

from dvs2s.backends import EngineBackend
from dvs2s.config import SearchConfig
from dvs2s.errors import Dvs2sError
from dvs2s.responder import Responder
from dvs2s.serving.generation import Generation
from dvs2s.serving.models import load_models
from dvs2s.serving.running import RunningBatch, failure, why_not
from dvs2s.serving.schedule import Waiting, cells, joining, next_batch
from dvs2s.serving.wire import Event, Job, line, parse

logger = logging.getLogger("dvs2s")

_BEAT = 1.0


class Worker:
    """Answers jobs, oldest first: in running batches where there is the compiled engine.

    What the engine cannot do is answered by the plain search, in batches, a word of theirs and a
    step of the running ones in turn.

    Args:
        models: by name.
        out: where events go, a line each.
        max_batch: jobs in a batch.
        batch_cells: hypotheses times words in a batch.
        batch_wait: seconds for which the plain search waits for company after an idle time.
    """

    def __init__(
        self,
        models: dict[str, Responder],
        out: BinaryIO,
        *,
        max_batch: int,
        batch_cells: int,
        batch_wait: float,
    ) -> None:
        self._models, self._out = models, out
        self._max_batch, self._cells, self._wait = max_batch, batch_cells, batch_wait
        self._inbox: queue.SimpleQueue[dict[str, Any] | None] = queue.SimpleQueue()
        self._running = {
            name: RunningBatch(bot, bot.backend, self._emit)
            for name, bot in models.items()
            if isinstance(bot.backend, EngineBackend)
        }
        self._lines: dict[str, deque[Waiting]] = {name: deque() for name in self._running}
        self._waiting: list[Waiting] = []  # for the plain search
        self._answering: set[int] = set()  # by the plain search, just now
        self._cancelled: set[int] = set()
        self._said: set[str] = set()
        self._buffer: list[bytes] = []
        self._last_sign = 0.0
        self._is_over = False

    def run(self, source: BinaryIO) -> None:
        """Works until ``source`` ends."""
        threading.Thread(target=self._read, args=(source,), daemon=True).start()
        while not self._is_over:
            if self._is_busy():
                self._take_in()
            else:
                self._idle()
            self._between()
            if self._waiting and not self._is_over:
                self._answer()

    def _read(self, source: BinaryIO) -> None:
        for data in source:
            message = parse(data)
            if "cancel" in message:
                self._cancelled.add(int(message["cancel"]))  # seen before the next word
            self._inbox.put(message)
        self._inbox.put(None)

    def _is_busy(self) -> bool:
        is_running = any(len(batch) for batch in self._running.values())
        return is_running or any(self._lines.values())

    def _idle(self) -> None:
        """Waits for work; for the plain search also for company."""
        while not (self._waiting or self._is_busy() or self._is_over):
            self._take_in(_BEAT)
            if not self._waiting:
                self._sign()
        deadline = time.monotonic() + self._wait
        while self._waiting and not self._is_busy() and len(self._waiting) < self._max_batch:
            left = deadline - time.monotonic()
            if left <= 0 or self._is_over:
                return
            self._take_in(left)

    def _take_in(self, patience: float = 0.0) -> None:
        """Takes in what has arrived, waiting for something where ``patience`` says so."""
        try:
            self._handle(self._inbox.get(patience > 0, patience))
            while True:
                self._handle(self._inbox.get_nowait())
        except queue.Empty:
            return

    def _handle(self, message: dict[str, Any] | None) -> None:
        if message is None:
            self._is_over = True
        elif "job" in message:
            self._take(Job.from_plain(message["job"]))
        else:
            self._drop(int(message["cancel"]))

    def _take(self, job: Job) -> None:
        bot = self._models[job.model]
        config = SearchConfig(**job.search)
        waiting = Waiting(job, config, cells(config, len(bot.vocabulary), bot.config.search.size))
        if job.model not in self._running:
            self._waiting.append(waiting)
            return
        reason = why_not(job)
        if not reason:
            self._lines[job.model].append(waiting)
            return
        if reason not in self._said:
            self._said.add(reason)
            logger.info("such requests are answered by the plain search: %s", reason)
        self._waiting.append(waiting)

    def _drop(self, job_id: int) -> None:
        """Forgets a cancelled job; one that is answered already leaves nothing behind, either."""
        self._waiting = [w for w in self._waiting if w.job.id != job_id]
        for name, batch in self._running.items():
            batch.cancel(job_id)
            if any(w.job.id == job_id for w in self._lines[name]):
                self._lines[name] = deque(w for w in self._lines[name] if w.job.id != job_id)
        if job_id not in self._answering:
            self._cancelled.discard(job_id)

    def _between(self) -> None:
        """A step of every running batch, after who has arrived has joined it."""
        self._take_in()
        for name, batch in self._running.items():
            most, budget = self._max_batch - len(batch), self._cells - batch.cells
            batch.join(joining(self._lines[name], most, budget, is_empty=not len(batch)))
            if len(batch):
                batch.step()
        if time.monotonic() - self._last_sign > _BEAT:
            self._sign()
        self._flush()

    def _answer(self) -> None:
        """Answers one batch by the plain search."""
        batch = next_batch(self._waiting, self._max_batch, self._cells)
        self._answering = {w.job.id for w in batch}
        self._waiting = [w for w in self._waiting if w.job.id not in self._answering]
        jobs = [w.job for w in batch if w.job.id not in self._cancelled]
        if jobs:
            self._generate(jobs, batch[0].config)
        self._cancelled -= self._answering
        self._answering = set()
        self._flush()

    def _generate(self, jobs: list[Job], config: SearchConfig) -> None:
        generation = Generation(
            self._models[jobs[0].model],
            config,
            jobs,
            emit=self._emit,
            is_cancelled=self._cancelled.__contains__,
            between=self._between,
        )
        try:
            generation.run()
        except (ValueError, RuntimeError, Dvs2sError) as error:
            logger.exception("a batch of %d failed", len(jobs))
            for job in jobs:
                self._emit(failure(job.id, error))

    def _sign(self) -> None:
        self._last_sign = time.monotonic()
        self._emit({"kind": "beat"})
        self._flush()

    def _emit(self, event: Event) -> None:
        self._buffer.append(line(event))

    def _flush(self) -> None:
        if self._buffer:
            self._out.write(b"".join(self._buffer))
            self._out.flush()
            self._buffer.clear()


def main() -> None:
    """Runs the process; its first line of input holds the settings."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the front decides when to end
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    _die_with_parent()
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="engine: %(message)s")
    out = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # a stray print must not look like an event
    settings = parse(sys.stdin.buffer.readline())
    if settings["threads"]:
        torch.set_num_threads(settings["threads"])
    try:
        models, infos = load_models(settings)
    except (Dvs2sError, ValueError) as error:
        out.write(line({"kind": "failed", "reason": str(error)}))
        out.flush()
        sys.exit(2)
    out.write(line({"kind": "ready", "models": [asdict(info) for info in infos]}))
    out.flush()
    limits = {name: settings[name] for name in ("max_batch", "batch_cells", "batch_wait")}
    try:
        Worker(models, out, **limits).run(sys.stdin.buffer)
    except BrokenPipeError:
        os._exit(0)  # the front is gone: nobody to tell
    os._exit(0)  # the reading thread may sit in a read that never returns


def _die_with_parent() -> None:
    """Asks Linux for SIGKILL when the parent dies, for the time in which we do not read."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG


if __name__ == "__main__":
    main()
