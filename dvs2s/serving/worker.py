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
from dataclasses import asdict
from pathlib import Path
from typing import Any, BinaryIO

import torch

from dvs2s.config import SearchConfig
from dvs2s.devices import say_kernels
from dvs2s.errors import Dvs2sError
from dvs2s.loading import load
from dvs2s.model import Dvs2sModel
from dvs2s.ops.extension import describe
from dvs2s.responder import Responder
from dvs2s.serving.generation import Generation
from dvs2s.serving.schedule import Waiting, cells, next_batch
from dvs2s.serving.wire import Event, Job, ModelInfo, line, parse

logger = logging.getLogger("dvs2s")

PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16}
_BEAT = 1.0


class Worker:
    """Answers jobs, oldest first, in batches.

    Args:
        models: by name.
        out: where events go, a line each.
        max_batch: jobs in a batch.
        batch_cells: hypotheses times words in a batch.
        batch_wait: seconds to wait for company after an idle time.
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
        self._waiting: list[Waiting] = []
        self._cancelled: set[int] = set()
        self._buffer: list[bytes] = []
        self._last_sign = 0.0

    def run(self, source: BinaryIO) -> None:
        """Works until ``source`` ends."""
        threading.Thread(target=self._read, args=(source,), daemon=True).start()
        while self._collect():
            if self._waiting:
                self._answer()

    def _read(self, source: BinaryIO) -> None:
        for data in source:
            message = parse(data)
            if "cancel" in message:
                self._cancelled.add(int(message["cancel"]))  # seen before the next word
            self._inbox.put(message)
        self._inbox.put(None)

    def _collect(self) -> bool:
        """Takes in what has arrived, waiting where there is nothing to do; False at the end."""
        deadline = 0.0 if self._waiting else None  # until when company is waited for
        while True:
            left = _BEAT if deadline is None else max(0.0, deadline - time.monotonic())
            try:
                message = self._inbox.get(left > 0, left)
            except queue.Empty:
                if deadline is not None:
                    return True
                self._emit({"kind": "beat"})
                self._flush()
                continue
            if message is None:
                return False
            if "job" in message:
                self._take(Job.from_plain(message["job"]))
            else:
                self._drop(int(message["cancel"]))
            if deadline is None and self._waiting:
                deadline = time.monotonic() + self._wait
            if len(self._waiting) >= self._max_batch:
                return True

    def _take(self, job: Job) -> None:
        bot = self._models[job.model]
        config = SearchConfig(**job.search)
        words = len(bot.vocabulary)
        cost = cells(config, words, bot.config.search.size)
        self._waiting.append(Waiting(job, config, cost))

    def _drop(self, job_id: int) -> None:
        """Forgets a cancelled job; one that is answered already leaves nothing behind, either."""
        self._waiting = [w for w in self._waiting if w.job.id != job_id]
        self._cancelled.discard(job_id)

    def _answer(self) -> None:
        batch = next_batch(self._waiting, self._max_batch, self._cells)
        chosen = {w.job.id for w in batch}
        self._waiting = [w for w in self._waiting if w.job.id not in chosen]
        jobs = [w.job for w in batch if w.job.id not in self._cancelled]
        if not jobs:
            return
        bot = self._models[jobs[0].model]
        generation = Generation(
            bot, batch[0].config, jobs, emit=self._emit, is_cancelled=self._is_cancelled
        )
        try:
            generation.run()
        except (ValueError, RuntimeError, Dvs2sError) as error:
            logger.exception("a batch of %d failed", len(jobs))
            for job in jobs:
                reason = f"{type(error).__name__} in the engine"
                self._emit({"kind": "error", "id": job.id, "status": 500, "reason": reason})
        self._flush()

    def _is_cancelled(self, job_id: int) -> bool:
        """Asked before every word, so it also sends what is ready, and a sign of life."""
        now = time.monotonic()
        if now - self._last_sign > _BEAT:
            self._last_sign = now
            self._emit({"kind": "beat"})
        self._flush()
        return job_id in self._cancelled

    def _emit(self, event: Event) -> None:
        self._buffer.append(line(event))

    def _flush(self) -> None:
        if self._buffer:
            self._out.write(b"".join(self._buffer))
            self._out.flush()
            self._buffer.clear()


def load_models(settings: dict[str, Any]) -> tuple[dict[str, Responder], list[ModelInfo]]:
    """Returns the models by name, and what the front has to know about them.

    Args:
        settings: ``models`` (name to folder), ``device``, ``precision``, ``search`` (settings other
            than the checkpoints').

    Raises:
        Dvs2sError: a checkpoint is missing or damaged, or the device.
    """
    device, precision = settings["device"], settings["precision"]
    models = {}
    for name, folder in settings["models"].items():
        responder = load(folder, device=device, engine="plain")  # it answers word by word
        set_precision(responder.model, precision)
        models[name] = responder
        wanted = settings["search"] if responder.has_word_predictor else _plain(settings["search"])
        responder.config.search = responder.search_config(**wanted)
    say_kernels(device)
    return models, [_info(name, bot, precision) for name, bot in models.items()]


def set_precision(model: Dvs2sModel, precision: str) -> None:
    """Rounds the weights of encoder, decoder and output; word prediction stays exact.

    It is run once a message and chooses among close probabilities.

    Raises:
        ValueError: a precision that is not one of ``PRECISIONS``.
    """
    if precision not in PRECISIONS:
        raise ValueError(f"precision must be one of {', '.join(PRECISIONS)}, got {precision!r}")
    for name, part in model.named_children():
        if name != "word_predictor":
            part.to(PRECISIONS[precision])


def _plain(search: dict[str, Any]) -> dict[str, Any]:
    """Returns the settings that a model without a word predictor can follow, too."""
    choosing = ("vocabulary", "size", "threshold", "alpha", "message_words")
    return {name: value for name, value in search.items() if name not in choosing}


def _info(name: str, bot: Responder, precision: str) -> ModelInfo:
    source = bot.source or Path(name)
    weights = source / "model.safetensors"
    objective = bot.config.objective
    return ModelInfo(
        name=name,
        source="/".join(source.parts[-3:]),
        words=len(bot.vocabulary),
        fixed=bot.vocabulary.num_fixed,
        predicts=bot.has_word_predictor,
        sane_outside=objective.kind != "joint" or objective.full_weight > 0,
        search=asdict(bot.search_config()),
        turns=bot.config.data.context_turns,
        parameters=sum(p.numel() for p in bot.model.parameters()),
        device=str(bot.device),
        precision=precision,
        kernels=describe(str(bot.device)),
        created=int(weights.stat().st_mtime) if weights.exists() else 0,
    )


def main() -> None:
    """Runs the process; its first line of input holds the settings."""
    signal.signal(
        signal.SIGINT, signal.SIG_IGN
    )  # Ctrl-C goes to the whole group: the front decides
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
