"""One engine process: started, spoken to, watched, ended."""

import asyncio
import contextlib
import sys
import time
from collections.abc import Callable
from typing import Any

from dvs2s.serving.wire import Event, Job, ModelInfo, line, parse

_LONGEST_LINE = 64 * 1024 * 1024


class EngineProcess:
    """A child that answers jobs.

    Args:
        settings: its first line of input, see ``worker.load_models``.
        on_event: is given every event about a job.
        on_end: is called once when the child has ended.
        command: what to run; tests pass another.
    """

    def __init__(
        self,
        settings: dict[str, Any],
        *,
        on_event: Callable[["EngineProcess", Event], None],
        on_end: Callable[["EngineProcess"], None],
        command: tuple[str, ...] = (sys.executable, "-m", "dvs2s.serving.worker"),
    ) -> None:
        self._settings, self._command = settings, command
        self._on_event, self._on_end = on_event, on_end
        self._process: asyncio.subprocess.Process | None = None
        self._reader: asyncio.Task[None] | None = None
        self._answer: asyncio.Future[Event] | None = None
        self._unsent: list[bytes] = []
        self.running: set[int] = set()
        self.last_sign = time.monotonic()

    @property
    def pid(self) -> int:
        """The child's process id; 0 before it is started."""
        return self._process.pid if self._process else 0

    @property
    def is_alive(self) -> bool:
        """Whether the child runs."""
        return self._process is not None and self._process.returncode is None

    async def start(self, timeout: float) -> tuple[ModelInfo, ...]:
        """Starts the child and returns its models once they are loaded.

        Raises:
            RuntimeError: they could not be loaded, or not in time.
        """
        pipe = asyncio.subprocess.PIPE
        self._answer = asyncio.get_running_loop().create_future()
        # In a session of its own: Ctrl-C is the front's affair, also while the child imports. (A
        # group of its own would do; uvloop, which Ray Serve brings, has no process_group.)
        self._process = await asyncio.create_subprocess_exec(
            *self._command, stdin=pipe, stdout=pipe, limit=_LONGEST_LINE, start_new_session=True
        )
        self._write(self._settings)
        self._reader = asyncio.create_task(self._read())
        try:
            event = await asyncio.wait_for(self._answer, timeout)
        except TimeoutError:
            await self.close(0)
            raise RuntimeError(f"the engine was not ready after {timeout:g} seconds") from None
        if event["kind"] != "ready":
            await self.close(5)
            raise RuntimeError(str(event["reason"]))
        return tuple(ModelInfo(**info) for info in event["models"])

    def send(self, job: Job) -> None:
        """Hands a job over."""
        self.running.add(job.id)
        self._write({"job": job.plain()})

    def cancel(self, job_id: int) -> None:
        """Lets a job go."""
        if job_id in self.running:
            self.running.discard(job_id)
            self._write({"cancel": job_id})

    async def close(self, patience: float) -> None:
        """Ends the child: asks by closing its input, then kills after ``patience`` seconds."""
        process = self._process
        if process is None:
            return
        if process.stdin is not None:
            self._send_all()
            process.stdin.close()
        try:
            await asyncio.wait_for(process.wait(), patience)
        except TimeoutError:
            self.kill()
            await process.wait()
        if self._reader is not None:
            await asyncio.wait([self._reader], timeout=5)

    def kill(self) -> None:
        """Ends the child at once."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()

    def _write(self, message: dict[str, Any]) -> None:
        """Sends a message with all others of this turn of the loop: jobs come in bursts."""
        self._unsent.append(line(message))
        if len(self._unsent) == 1:
            asyncio.get_running_loop().call_soon(self._send_all)

    def _send_all(self) -> None:
        assert self._process is not None and self._process.stdin is not None
        if self._unsent and not self._process.stdin.is_closing():
            self._process.stdin.write(b"".join(self._unsent))
        self._unsent.clear()

    async def _read(self) -> None:
        assert self._process is not None and self._process.stdout is not None
        try:
            async for data in self._process.stdout:
                self.last_sign = time.monotonic()
                self._handle(parse(data))
        except ValueError:
            self.kill()  # a torn line: the child died in the middle of it, or speaks nonsense
        await self._process.wait()
        if self._answer is not None and not self._answer.done():
            reason = f"the engine ended with code {self._process.returncode} while loading"
            self._answer.set_result({"kind": "failed", "reason": reason})
        self._on_end(self)

    def _handle(self, event: Event) -> None:
        kind = event["kind"]
        if kind in ("ready", "failed"):
            if self._answer is not None and not self._answer.done():
                self._answer.set_result(event)
        elif kind != "beat" and event["id"] in self.running:
            if kind in ("done", "error"):
                self.running.discard(event["id"])
            self._on_event(self, event)
